-- Calls to polling agents from any node (internal/hub). Both tables are small: what is connected, and what is under way.

-- Which node holds a link of which agent. A row counts while its node is up under this epoch.
CREATE TABLE link (
  subscription TEXT NOT NULL,
  node         TEXT NOT NULL,
  epoch        BIGINT NOT NULL,
  number       BIGINT NOT NULL, -- the highest of a subscription is its newest link
  since        BIGINT NOT NULL, -- for people; never compared by machines
  PRIMARY KEY (subscription, node)
);
CREATE INDEX link_node ON link (node);

CREATE TABLE call (
  number       {{serial}},       -- first come, first served
  id           TEXT NOT NULL UNIQUE,
  subscription TEXT NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('waiting', 'taken', 'answered', 'broken', 'unsent', 'refused')),
  caller       TEXT NOT NULL,    -- the node that waits for the answer
  caller_epoch BIGINT NOT NULL,
  taker        TEXT NOT NULL,    -- the node that carries the call out
  taker_epoch  BIGINT NOT NULL,
  given_up     BOOLEAN NOT NULL, -- the caller does not wait any more
  task         TEXT NOT NULL,    -- the fence of the task that calls, or ''
  incarnation  BIGINT NOT NULL,
  claim        BIGINT NOT NULL,
  request      {{bytes}} NOT NULL, -- sealed
  answer       {{bytes}},          -- sealed
  error        TEXT NOT NULL,
  created      BIGINT NOT NULL,
  CHECK ((state = 'answered') = (answer IS NOT NULL)),
  CHECK ((state = 'broken' OR state = 'unsent') = (error <> '')),
  CHECK (state NOT IN ('waiting', 'refused') OR taker = ''),
  CHECK (state NOT IN ('taken', 'answered') OR taker <> ''),
  CHECK (NOT given_up OR state = 'taken')
);
CREATE INDEX call_waiting ON call (subscription, number) WHERE state = 'waiting';
CREATE INDEX call_taker ON call (taker) WHERE state = 'taken';
CREATE INDEX call_caller ON call (caller);
{{postgres}}ALTER TABLE call SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
