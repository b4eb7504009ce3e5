-- Who did what to which: one row for each change, written in the change's own transaction. Ordered by number, never by time.
CREATE TABLE event (
  number      {{serial}},
  space       TEXT NOT NULL,
  category    TEXT NOT NULL,
  actor       TEXT NOT NULL,
  username    TEXT NOT NULL,
  established TEXT NOT NULL, -- how we knew who it was
  address     TEXT NOT NULL,
  user_agent  TEXT NOT NULL,
  message     TEXT NOT NULL,
  documents   TEXT NOT NULL, -- ids, a JSON list
  occurred    BIGINT NOT NULL
);
CREATE INDEX event_space ON event (space, number);
