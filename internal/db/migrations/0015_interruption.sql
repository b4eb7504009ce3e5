-- What people are asked, and what they said. Owner: control.

--   pending -> answered | withdrawn
CREATE TABLE interruption (
  number       BIGINT PRIMARY KEY,   -- of Interruptions-12
  space        TEXT NOT NULL,
  task         TEXT NOT NULL,
  about        TEXT NOT NULL,        -- which of the task's questions: the engine's word, step_run.id
  kind         TEXT NOT NULL CHECK (kind IN ('ManualIntervention', 'GuidedFailure')),
  title        TEXT NOT NULL,
  instructions TEXT NOT NULL,
  options      TEXT NOT NULL,        -- JSON list of the answers there are
  teams        TEXT NOT NULL,        -- JSON list of ids; who may answer
  documents    TEXT NOT NULL,        -- JSON list of ids; the same are in interruption_document
  activity     TEXT NOT NULL,        -- of the task's log
  created      BIGINT NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('pending', 'answered', 'withdrawn')),
  responsible  TEXT NOT NULL DEFAULT '', -- the user who holds it, or who answered
  answer       TEXT NOT NULL DEFAULT '',
  notes        TEXT NOT NULL DEFAULT '',
  username     TEXT NOT NULL DEFAULT '', -- of who answered, as he was called then
  display_name TEXT NOT NULL DEFAULT '',
  email        TEXT NOT NULL DEFAULT '',
  ended        BIGINT,
  UNIQUE (task, about),
  CHECK ((state = 'pending') = (ended IS NULL)),
  CHECK ((state = 'answered') = (answer <> '')),
  CHECK (state <> 'answered' OR responsible <> '')
);
CREATE INDEX interruption_space ON interruption (space, number);
CREATE INDEX interruption_pending ON interruption (number) WHERE state = 'pending';

-- What a question is about, so that it is found by any of it.
CREATE TABLE interruption_document (
  document TEXT NOT NULL,
  number   BIGINT NOT NULL REFERENCES interruption (number),
  PRIMARY KEY (document, number)
);
