-- Configuration: one row for each aggregate. doc is the client's own JSON, with its defaults; owned is
-- what the server says of it (health, counts), which a client's save never touches.
CREATE TABLE document (
  id          TEXT PRIMARY KEY,
  kind        TEXT NOT NULL,
  space       TEXT NOT NULL,           -- '' is the server
  name        TEXT NOT NULL,           -- '' where the kind has none
  name_key    TEXT NOT NULL,           -- the name in lower case, made in Go so that both engines agree
  name_unique BOOLEAN NOT NULL,
  slug        TEXT NOT NULL,           -- '' where the kind has none
  parent      TEXT NOT NULL,           -- what the name is unique in, below the space
  sort        BIGINT NOT NULL,
  number      BIGINT NOT NULL,         -- rises with each new row of a kind: newest first is number first
  version     BIGINT NOT NULL,
  created     BIGINT NOT NULL,
  changed     BIGINT NOT NULL,
  doc         TEXT NOT NULL,
  owned       TEXT NOT NULL
);
CREATE UNIQUE INDEX document_name ON document (kind, space, parent, name_key) WHERE name_unique;
CREATE UNIQUE INDEX document_slug ON document (kind, space, parent, slug) WHERE slug <> '';
CREATE INDEX document_list ON document (kind, space, sort, name_key, id);
CREATE INDEX document_newest ON document (kind, space, number);

-- Values lists are filtered by.
CREATE TABLE lifted (
  document TEXT NOT NULL REFERENCES document (id) ON DELETE CASCADE,
  name     TEXT NOT NULL,
  value    TEXT NOT NULL,              -- in lower case
  PRIMARY KEY (document, name, value)
);
CREATE INDEX lifted_value ON lifted (name, value, document);

-- Who names whom. The foreign key is the "in use by" check that no race gets around.
CREATE TABLE reference (
  document TEXT NOT NULL REFERENCES document (id) ON DELETE CASCADE,
  path     TEXT NOT NULL,
  target   TEXT NOT NULL REFERENCES document (id),
  PRIMARY KEY (document, path, target)
);
CREATE INDEX reference_target ON reference (target);
