-- Two sources of numbers that every push draws from are there before the first one, so that it need not look for them.
{{postgres}}CREATE SEQUENCE IF NOT EXISTS number_servertasks;
{{postgres}}CREATE SEQUENCE IF NOT EXISTS number_place;

-- The tally is counted once for each statement, not for each row, and in one of sixteen slots: tasks of one project, or of the server
-- itself, that end on several nodes at once do not wait for each other's commits. A reader adds the slots up.
{{postgres}}ALTER TABLE task_tally ADD COLUMN slot BIGINT NOT NULL DEFAULT 0;
{{postgres}}ALTER TABLE task_tally DROP CONSTRAINT task_tally_pkey;
{{postgres}}ALTER TABLE task_tally ADD PRIMARY KEY (space, project, environment, kind, state, slot);
{{postgres}}DROP TRIGGER task_tally_added ON task;
{{postgres}}DROP TRIGGER task_tally_changed ON task;
{{postgres}}DROP TRIGGER task_tally_deleted ON task;
{{postgres}}DROP FUNCTION task_tally_count();
{{postgres}}CREATE FUNCTION task_tally_count() RETURNS trigger LANGUAGE plpgsql AS $$
{{postgres}}BEGIN
{{postgres}}  IF TG_OP = 'DELETE' THEN
{{postgres}}    INSERT INTO task_tally AS y (space, project, environment, kind, state, slot, n)
{{postgres}}      SELECT i.space, i.project, i.environment, i.kind, i.state, pg_backend_pid() % 16, -count(*) FROM gone i
{{postgres}}        WHERE i.state <> 'live' GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
{{postgres}}      ON CONFLICT (space, project, environment, kind, state, slot) DO UPDATE SET n = y.n + excluded.n;
{{postgres}}  ELSE
{{postgres}}    INSERT INTO task_tally AS y (space, project, environment, kind, state, slot, n)
{{postgres}}      SELECT x.space, x.project, x.environment, x.kind, x.state, pg_backend_pid() % 16, sum(x.n) FROM (
{{postgres}}        SELECT i.space, i.project, i.environment, i.kind, i.state, 1 AS n FROM added i WHERE i.state <> 'live'
{{postgres}}        UNION ALL SELECT i.space, i.project, i.environment, i.kind, i.state, -1 FROM gone i WHERE i.state <> 'live') x
{{postgres}}      GROUP BY 1, 2, 3, 4, 5 HAVING sum(x.n) <> 0 ORDER BY 1, 2, 3, 4, 5
{{postgres}}      ON CONFLICT (space, project, environment, kind, state, slot) DO UPDATE SET n = y.n + excluded.n;
{{postgres}}  END IF;
{{postgres}}  RETURN NULL;
{{postgres}}END $$;
{{postgres}}CREATE TRIGGER task_tally_changed AFTER UPDATE ON task REFERENCING OLD TABLE AS gone NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION task_tally_count();
{{postgres}}CREATE TRIGGER task_tally_deleted AFTER DELETE ON task REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION task_tally_count();
-- Tasks are pushed live; only a restored or imported one is inserted as an ended one, so the usual insert asks nothing.
{{postgres}}CREATE FUNCTION task_tally_one() RETURNS trigger LANGUAGE plpgsql AS $$
{{postgres}}BEGIN
{{postgres}}  INSERT INTO task_tally AS y (space, project, environment, kind, state, slot, n) VALUES (NEW.space, NEW.project, NEW.environment, NEW.kind, NEW.state, 0, 1)
{{postgres}}    ON CONFLICT (space, project, environment, kind, state, slot) DO UPDATE SET n = y.n + 1;
{{postgres}}  RETURN NULL;
{{postgres}}END $$;
{{postgres}}CREATE TRIGGER task_tally_added AFTER INSERT ON task FOR EACH ROW WHEN (NEW.state <> 'live') EXECUTE FUNCTION task_tally_one();
