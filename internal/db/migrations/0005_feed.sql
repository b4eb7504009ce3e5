-- The built-in package repository. Owner: feed.

-- Content of packages, by digest; versions of several spaces may share it. A row is there before its blob
-- and goes after it.
--   kept -> dropping -> gone
CREATE TABLE package_blob (
  key    TEXT PRIMARY KEY,
  state  TEXT NOT NULL CHECK (state IN ('kept', 'dropping')),
  made   TEXT NOT NULL,  -- random: tells this row from a later one of the same key
  since  BIGINT NOT NULL -- when an upload last claimed it, or a version let go of it
);
CREATE INDEX package_blob_since ON package_blob (since);

CREATE TABLE package (
  space         TEXT NOT NULL,
  name_key      TEXT NOT NULL,             -- id.version in lower case: what a version is asked for by
  id_key        TEXT NOT NULL,             -- id in lower case
  sort_key      {{bytes}} NOT NULL,          -- orders as versions do, on both engines
  package_id    TEXT NOT NULL,
  version       TEXT NOT NULL,
  extension     TEXT NOT NULL,
  title         TEXT NOT NULL,
  summary       TEXT NOT NULL,
  description   TEXT NOT NULL,
  release_notes TEXT NOT NULL,
  published     BIGINT NOT NULL,
  size          BIGINT NOT NULL CHECK (size > 0),
  sha1          TEXT NOT NULL,
  sha256        TEXT NOT NULL,
  blob          TEXT NOT NULL REFERENCES package_blob (key),
  PRIMARY KEY (space, name_key)
);
CREATE INDEX package_version ON package (space, id_key, sort_key);
CREATE INDEX package_uses ON package (blob);
