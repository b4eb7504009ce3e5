-- Secrets, sealed with a master key. Owner: secret.

-- One row for each master key in use, with a value only that key opens: a node with another key is told so
-- before it writes anything.
CREATE TABLE master_key (
  id      TEXT PRIMARY KEY,
  slot    BIGINT NOT NULL UNIQUE, -- 1 is the first: of two nodes that start a new database at once, one wins
  proof   {{bytes}} NOT NULL,
  created BIGINT NOT NULL
);

CREATE TABLE secret (
  id      TEXT PRIMARY KEY,
  space   TEXT NOT NULL,             -- '' is the server
  key     TEXT NOT NULL REFERENCES master_key (id),
  sealed  {{bytes}} NOT NULL,
  created BIGINT NOT NULL
);
CREATE INDEX secret_key ON secret (key, id);
