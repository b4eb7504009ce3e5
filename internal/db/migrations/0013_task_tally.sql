-- How many ended tasks there are, so that no page of a list counts them (performance.md P29). Triggers keep it, so that no
-- writer of task can forget to. Tasks of one project and environment end one after the other, so its rows are not fought over.
CREATE TABLE task_tally (
  space       TEXT NOT NULL,
  project     TEXT NOT NULL,
  environment TEXT NOT NULL,
  kind        TEXT NOT NULL,
  state       TEXT NOT NULL,
  n           BIGINT NOT NULL,
  PRIMARY KEY (space, project, environment, kind, state)
);
{{postgres}}ALTER TABLE task_tally SET (fillfactor = 50);
INSERT INTO task_tally (space, project, environment, kind, state, n)
  SELECT space, project, environment, kind, state, count(*) FROM task WHERE state <> 'live' GROUP BY space, project, environment, kind, state;

{{postgres}}CREATE FUNCTION task_tally_count() RETURNS trigger LANGUAGE plpgsql AS $$
{{postgres}}BEGIN
{{postgres}}  IF TG_OP <> 'INSERT' AND OLD.state <> 'live' THEN
{{postgres}}    UPDATE task_tally SET n = n - 1
{{postgres}}      WHERE space = OLD.space AND project = OLD.project AND environment = OLD.environment AND kind = OLD.kind AND state = OLD.state;
{{postgres}}  END IF;
{{postgres}}  IF TG_OP <> 'DELETE' AND NEW.state <> 'live' THEN
{{postgres}}    INSERT INTO task_tally AS t (space, project, environment, kind, state, n) VALUES (NEW.space, NEW.project, NEW.environment, NEW.kind, NEW.state, 1)
{{postgres}}      ON CONFLICT (space, project, environment, kind, state) DO UPDATE SET n = t.n + 1;
{{postgres}}  END IF;
{{postgres}}  RETURN NULL;
{{postgres}}END $$;
{{postgres}}CREATE TRIGGER task_tally_added AFTER INSERT ON task FOR EACH ROW WHEN (NEW.state <> 'live') EXECUTE FUNCTION task_tally_count();
{{postgres}}CREATE TRIGGER task_tally_changed AFTER UPDATE OF state ON task FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION task_tally_count();
{{postgres}}CREATE TRIGGER task_tally_deleted AFTER DELETE ON task FOR EACH ROW WHEN (OLD.state <> 'live') EXECUTE FUNCTION task_tally_count();

{{sqlite}}CREATE TRIGGER task_tally_added AFTER INSERT ON task WHEN NEW.state <> 'live' BEGIN
{{sqlite}}  INSERT INTO task_tally (space, project, environment, kind, state, n) VALUES (NEW.space, NEW.project, NEW.environment, NEW.kind, NEW.state, 1)
{{sqlite}}    ON CONFLICT (space, project, environment, kind, state) DO UPDATE SET n = n + 1;
{{sqlite}}END;
{{sqlite}}CREATE TRIGGER task_tally_changed AFTER UPDATE OF state ON task WHEN OLD.state <> NEW.state BEGIN
{{sqlite}}  UPDATE task_tally SET n = n - 1
{{sqlite}}    WHERE space = OLD.space AND project = OLD.project AND environment = OLD.environment AND kind = OLD.kind AND state = OLD.state;
{{sqlite}}  INSERT INTO task_tally (space, project, environment, kind, state, n) SELECT NEW.space, NEW.project, NEW.environment, NEW.kind, NEW.state, 1
{{sqlite}}    WHERE NEW.state <> 'live' ON CONFLICT (space, project, environment, kind, state) DO UPDATE SET n = n + 1;
{{sqlite}}END;
{{sqlite}}CREATE TRIGGER task_tally_deleted AFTER DELETE ON task WHEN OLD.state <> 'live' BEGIN
{{sqlite}}  UPDATE task_tally SET n = n - 1
{{sqlite}}    WHERE space = OLD.space AND project = OLD.project AND environment = OLD.environment AND kind = OLD.kind AND state = OLD.state;
{{sqlite}}END;

-- The newest tasks of a project, in all environments.
CREATE INDEX task_of_project ON task (project, number);
