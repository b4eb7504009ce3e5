-- Who ran a task, when, and under which claim. Owner: engine/tasklog.
CREATE TABLE task_run (
  task        TEXT NOT NULL,
  incarnation BIGINT NOT NULL,
  claim       BIGINT NOT NULL,
  node        TEXT NOT NULL,
  epoch       BIGINT NOT NULL, -- of the node's registration
  started     BIGINT NOT NULL,
  ended       BIGINT,
  ending      TEXT NOT NULL CHECK (ending IN ('', 'Ended', 'Waited', 'HandedOver', 'Lost')),
  PRIMARY KEY (task, incarnation, claim),
  CHECK ((ended IS NULL) = (ending = ''))
);
