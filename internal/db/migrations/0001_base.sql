-- The sources of all numbers: ids of resources, places in the queue.
-- PostgreSQL has a sequence for each, so that two transactions never wait for each other's number.
{{sqlite}}CREATE TABLE number_source (name TEXT PRIMARY KEY, last BIGINT NOT NULL);
{{postgres}}CREATE FUNCTION next_number(source TEXT) RETURNS BIGINT LANGUAGE plpgsql AS $$
{{postgres}}DECLARE
{{postgres}}  seq TEXT := 'number_' || lower(source);
{{postgres}}BEGIN
{{postgres}}  IF to_regclass(seq) IS NULL THEN
{{postgres}}    PERFORM pg_advisory_xact_lock(791200402);
{{postgres}}    EXECUTE 'CREATE SEQUENCE IF NOT EXISTS ' || quote_ident(seq);
{{postgres}}  END IF;
{{postgres}}  RETURN nextval(seq);
{{postgres}}END $$;
