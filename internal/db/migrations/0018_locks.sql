-- Who may run a script on a target now, and who is next; named locks too (deployments.md P11). Owner: engine.
-- A row holds its lock when no earlier row of the same scope and name conflicts with it: readers share, a writer is alone.
CREATE TABLE run_lock (
  scope  TEXT NOT NULL,    -- a machine's id, or the space of a named lock
  name   TEXT NOT NULL,    -- '' is the machine itself
  seq    BIGINT NOT NULL,  -- the order of asking
  shared BOOLEAN NOT NULL,
  task   TEXT NOT NULL,
  run    TEXT NOT NULL,    -- step_run.id
  PRIMARY KEY (scope, name, seq),
  UNIQUE (task, run, scope, name)
);
