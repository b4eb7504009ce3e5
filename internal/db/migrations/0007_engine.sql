-- The ledger of running work, and task logs. Owners: engine, engine/tasklog.

-- What will be done, written before the first step (deployments.md P4).
CREATE TABLE plan (
  task    TEXT PRIMARY KEY,
  body    TEXT NOT NULL,
  created BIGINT NOT NULL
);

-- One attempt of one action at one place (deployment.Run).
CREATE TABLE step_run (
  task TEXT NOT NULL,
  id   TEXT NOT NULL,
  seq  BIGINT NOT NULL, -- order of starting
  body TEXT NOT NULL,
  PRIMARY KEY (task, id)
);

-- One script on one machine. The row is there before the script is sent.
--   planned -> started -> ended -> completed        started, planned -> interrupted (server scripts of a dead node)
CREATE TABLE script_run (
  ticket    TEXT PRIMARY KEY,
  task      TEXT NOT NULL,
  run       TEXT NOT NULL, -- step_run.id
  part      TEXT NOT NULL, -- which script of the run: find, deploy, ...
  place     TEXT NOT NULL, -- machine id, or server:<node>
  service   TEXT NOT NULL, -- which of the agent's services carries it
  state     TEXT NOT NULL CHECK (state IN ('planned', 'started', 'ended', 'completed', 'interrupted')),
  command   {{bytes}},       -- what is sent, sealed; dropped at completion
  log_next  BIGINT NOT NULL, -- the agent's log cursor
  progress  {{bytes}} NOT NULL, -- what reading its output has to remember, sealed
  exit_code BIGINT NOT NULL,
  message   TEXT NOT NULL,   -- the script's own reason of failure (fail_step)
  errors    BOOLEAN NOT NULL, -- something was written to standard error
  warnings  BOOLEAN NOT NULL,
  incarnation BIGINT NOT NULL, -- of the claim that planned it
  claim     BIGINT NOT NULL,
  created   BIGINT NOT NULL,
  ended     BIGINT,
  UNIQUE (task, run, part)
);
CREATE INDEX script_run_left ON script_run (created) WHERE state IN ('planned', 'started', 'ended');

-- Output variables of a task (deployments.md E9). machine is the target's id, '' for run-once actions.
CREATE TABLE output_variable (
  task    TEXT NOT NULL,
  action  TEXT NOT NULL,
  machine TEXT NOT NULL,
  machine_name TEXT NOT NULL,
  name    TEXT NOT NULL,
  seq     BIGINT NOT NULL,  -- the last one set wins the unindexed form
  value   TEXT NOT NULL,    -- '' for a sensitive one
  sealed  {{bytes}},          -- of a sensitive one
  PRIMARY KEY (task, action, machine, name)
);

-- Values that a script asked to mask for the rest of the task.
CREATE TABLE task_mask (
  task   TEXT NOT NULL,
  seq    BIGINT NOT NULL,
  sealed {{bytes}} NOT NULL,
  PRIMARY KEY (task, seq)
);

CREATE TABLE artifact (
  id       TEXT PRIMARY KEY,
  space    TEXT NOT NULL,
  task     TEXT NOT NULL,
  run      TEXT NOT NULL,
  activity TEXT NOT NULL,
  filename TEXT NOT NULL,
  source   TEXT NOT NULL,
  blob     TEXT NOT NULL,
  size     BIGINT NOT NULL,
  sha256   TEXT NOT NULL,
  created  BIGINT NOT NULL
);
CREATE INDEX artifact_task ON artifact (task);

CREATE TABLE log_chunk (
  task    TEXT NOT NULL,
  seq     BIGINT NOT NULL, -- number of its first entry
  entries BIGINT NOT NULL,
  body    TEXT NOT NULL,   -- one JSON object a line
  PRIMARY KEY (task, seq)
);

CREATE TABLE log_sealed (
  task    TEXT PRIMARY KEY,
  blob    TEXT NOT NULL,
  entries BIGINT NOT NULL,
  sha256  TEXT NOT NULL
);
