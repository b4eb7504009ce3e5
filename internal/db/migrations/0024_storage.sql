-- Why a node takes no tasks just now, for people; '' when it does. Owner: cluster.
ALTER TABLE node ADD COLUMN trouble TEXT NOT NULL DEFAULT '';

-- Where blobs are, for all nodes. Owner: storage. A kind without a row is where the kind '' is; if that has no row either, it is where
-- the node's own setting --blobs says.
CREATE TABLE blob_place (
  kind     TEXT PRIMARY KEY,
  location TEXT NOT NULL, -- written to, read first; '' is the node's own --blobs
  other    TEXT           -- while content moves: read when the first one lacks it; the same words
);
-- The version of all of blob_place, and which one each node acts upon, so that who moves content knows when all do.
CREATE TABLE blob_version (
  one     BIGINT PRIMARY KEY CHECK (one = 1),
  version BIGINT NOT NULL
);
INSERT INTO blob_version (one, version) VALUES (1, 1);
CREATE TABLE blob_follower (
  node    TEXT PRIMARY KEY,
  version BIGINT NOT NULL
);

-- PostgreSQL knows the sources of numbers in small letters. A backup of it, restored here, must go on where it was.
{{sqlite}}CREATE TABLE number_source_2 (name TEXT PRIMARY KEY COLLATE NOCASE, last BIGINT NOT NULL);
{{sqlite}}INSERT INTO number_source_2 (name, last) SELECT min(name), max(last) FROM number_source GROUP BY lower(name);
{{sqlite}}DROP TABLE number_source;
{{sqlite}}ALTER TABLE number_source_2 RENAME TO number_source;
