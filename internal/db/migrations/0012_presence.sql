-- TRUE: the node's process holds a session lock, whose end is one of two witnesses of its death.
ALTER TABLE node ADD COLUMN present BOOLEAN NOT NULL DEFAULT FALSE;
