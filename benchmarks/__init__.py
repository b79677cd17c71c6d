"""What we cost beside scripts by hand. All allocate alike: `import lakehouse` says how Polars does."""

import lakehouse as lakehouse
