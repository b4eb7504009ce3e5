-- Nodes, their beats, leases, duties, and the task queue (performance.md 3, design S: a wide table of
-- tasks that is written at push and at the end, a narrow one of live tasks only).

CREATE TABLE cluster (
  one         BIGINT PRIMARY KEY CHECK (one = 1),
  incarnation BIGINT NOT NULL -- raised when the database came back from a backup
);
INSERT INTO cluster (one, incarnation) VALUES (1, 1);

CREATE TABLE node (
  name       TEXT PRIMARY KEY,
  machine    TEXT NOT NULL,   -- who may take the name over at once
  epoch      BIGINT NOT NULL, -- raised by each registration and by the reaper
  state      TEXT NOT NULL CHECK (state IN ('up', 'stopped', 'dead')),
  cap        BIGINT NOT NULL CHECK (cap >= 0),
  draining   BOOLEAN NOT NULL,
  version    TEXT NOT NULL,
  address    TEXT NOT NULL,
  labels     TEXT NOT NULL,
  registered BIGINT NOT NULL
);

-- A table of its own: a beat conflicts with nothing but the reaper.
CREATE TABLE node_beat (
  node  TEXT PRIMARY KEY,
  epoch BIGINT NOT NULL,
  beats BIGINT NOT NULL,
  seen  BIGINT NOT NULL -- for people; never compared by machines
);

CREATE TABLE lease (
  name   TEXT PRIMARY KEY,
  holder TEXT NOT NULL, -- '' when given up
  term   BIGINT NOT NULL,
  beats  BIGINT NOT NULL
);

CREATE TABLE duty (
  name    TEXT PRIMARY KEY,
  next    BIGINT NOT NULL,
  started BIGINT,
  ended   BIGINT,
  term    BIGINT NOT NULL,
  error   TEXT NOT NULL
);

CREATE TABLE task (
  id            TEXT PRIMARY KEY,
  number        BIGINT NOT NULL UNIQUE,
  space         TEXT NOT NULL, -- '' for the server's own
  kind          TEXT NOT NULL,
  description   TEXT NOT NULL,
  search        TEXT NOT NULL, -- kind and description in small letters
  arguments     TEXT NOT NULL,
  turn          TEXT,
  priority      BOOLEAN NOT NULL,
  push_key      TEXT UNIQUE,
  project       TEXT NOT NULL,
  environment   TEXT NOT NULL,
  tenant        TEXT NOT NULL,
  runbook       TEXT NOT NULL,
  batch         TEXT NOT NULL,
  created       BIGINT NOT NULL,
  queue_time    BIGINT NOT NULL, -- not started before
  expires       BIGINT,          -- not started after
  state         TEXT NOT NULL CHECK (state IN ('live', 'Success', 'Failed', 'Canceled', 'TimedOut')),
  node          TEXT NOT NULL DEFAULT '',
  started       BIGINT,
  ended         BIGINT,
  updated       BIGINT NOT NULL,
  error         TEXT NOT NULL DEFAULT '',
  warnings      BOOLEAN NOT NULL DEFAULT FALSE,
  log_lines     BIGINT NOT NULL DEFAULT 0,
  CHECK ((state = 'live') = (ended IS NULL))
);
CREATE INDEX task_space ON task (space, number);
CREATE INDEX task_project ON task (project, environment, number);
-- state is in no index, so that the one update at the end stays in its page
{{postgres}}ALTER TABLE task SET (fillfactor = 85);

CREATE TABLE queue (
  task          TEXT PRIMARY KEY REFERENCES task (id),
  kind          TEXT NOT NULL,
  turn          TEXT,
  lane          BIGINT NOT NULL, -- 0 has run before, 1 moved to the top, 2 priority, 3 regular
  place         BIGINT NOT NULL,
  state         TEXT NOT NULL CHECK (state IN ('queued', 'running', 'released', 'waiting')),
  due           BOOLEAN NOT NULL, -- its queue time has come
  head          BOOLEAN NOT NULL, -- holds its turn
  queue_time    BIGINT NOT NULL,
  expires       BIGINT,
  node          TEXT NOT NULL DEFAULT '', -- the owner, or the last one
  incarnation   BIGINT NOT NULL DEFAULT 0,
  claim         BIGINT NOT NULL DEFAULT 0,
  cancel        BOOLEAN NOT NULL DEFAULT FALSE,
  woken         BOOLEAN NOT NULL DEFAULT FALSE, -- resumed while it still ran
  started       BIGINT,
  updated       BIGINT NOT NULL,
  warnings      BOOLEAN NOT NULL DEFAULT FALSE,
  interruptions TEXT NOT NULL DEFAULT '',
  log_lines     BIGINT NOT NULL DEFAULT 0,
  CHECK ((lane = 0) = (state <> 'queued')),
  CHECK (lane BETWEEN 0 AND 3),
  CHECK (due OR (state = 'queued' AND NOT head)),
  CHECK (state <> 'queued' OR NOT cancel),
  CHECK (state <> 'running' OR (node <> '' AND claim > 0 AND (head OR cancel)))
);
-- A claim is a range scan of this one.
CREATE INDEX queue_ready ON queue (lane, place) WHERE head AND state IN ('queued', 'released');
-- The invariant itself: one holder of a turn.
CREATE UNIQUE INDEX queue_turn ON queue (turn) WHERE head;
CREATE INDEX queue_behind ON queue (turn, lane, place) WHERE NOT head AND due;
CREATE INDEX queue_running ON queue (node) WHERE state = 'running';
CREATE INDEX queue_ending ON queue (place) WHERE cancel AND state = 'released';
CREATE INDEX queue_later ON queue (queue_time) WHERE NOT due;
CREATE INDEX queue_expires ON queue (expires) WHERE state = 'queued';
{{postgres}}ALTER TABLE queue SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
{{postgres}}ALTER TABLE node_beat SET (fillfactor = 30);
{{postgres}}ALTER TABLE lease SET (fillfactor = 30);
