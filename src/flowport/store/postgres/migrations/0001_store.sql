-- The tables of the store, as `store/sqlite/schema.py` has them, with what replicas share besides.
-- Texts are compared byte by byte, as in SQLite and in Python, whatever the language of the database.
-- A later file adds columns with defaults and tables, and never renames or drops: an older replica runs beside a newer one.

CREATE SEQUENCE changes;

CREATE TABLE runs (
    id text COLLATE "C" PRIMARY KEY,
    account_id text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    app_id text COLLATE "C" NOT NULL,
    app_name text COLLATE "C" NOT NULL,
    tool_name text COLLATE "C" NOT NULL,
    arguments_json text COLLATE "C" NOT NULL,
    raw_digest text COLLATE "C" NOT NULL,
    canonical_digest text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    accepted_at double precision NOT NULL,
    process_id text COLLATE "C" NOT NULL,
    lease bigint NOT NULL,
    price_credits double precision,
    reserved_credits double precision NOT NULL,
    spent_credits double precision NOT NULL,
    is_cost_reported boolean NOT NULL,
    provider_run_id text COLLATE "C" NOT NULL,
    starting_at double precision,
    started_at double precision,
    running_at double precision,
    finished_at double precision,
    failure text COLLATE "C" NOT NULL,
    start_response text COLLATE "C" NOT NULL,
    reported_at double precision,
    delivered_at double precision,
    delivered_to text COLLATE "C" NOT NULL,
    delivered_boot_id text COLLATE "C" NOT NULL,
    delivered_boot_seconds double precision,
    is_delivery_cancelled boolean NOT NULL,
    is_followed boolean NOT NULL,
    boot_id text COLLATE "C" NOT NULL,
    accepted_boot_seconds double precision,
    reminder_count bigint NOT NULL,
    adoption_tried_by text COLLATE "C" NOT NULL,
    notes text COLLATE "C" NOT NULL,
    batch_id text COLLATE "C" NOT NULL,
    row_count bigint NOT NULL,
    start_request text COLLATE "C" NOT NULL,
    unknown_at double precision,
    witness text COLLATE "C" NOT NULL,
    witnessed_at double precision,
    -- What only this store has: records of an older version are written without it.
    row_number bigint GENERATED ALWAYS AS IDENTITY,
    is_queued boolean NOT NULL DEFAULT false,
    -- What a search looks through: the app's and the tool's name, then the rest, without upper case.
    folded_app text COLLATE "C" NOT NULL DEFAULT '',
    folded_rest text COLLATE "C" NOT NULL DEFAULT '',
    changed_number bigint NOT NULL DEFAULT nextval('changes'),
    -- The last change that the run's holder made, by which it finds out whether one happened whose answer was lost.
    changed_by text COLLATE "C" NOT NULL DEFAULT ''
);

CREATE TABLE outputs (
    run_id text COLLATE "C" NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    n bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    url text COLLATE "C",
    provider_output_id text COLLATE "C" NOT NULL,
    mime_type text COLLATE "C" NOT NULL,
    size_bytes bigint,
    width bigint,
    height bigint,
    duration_seconds double precision,
    expires_at double precision,
    saved_path text COLLATE "C" NOT NULL,
    save_problem text COLLATE "C" NOT NULL,
    text text COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id, n)
);

CREATE TABLE tool_names (
    name text COLLATE "C" PRIMARY KEY,
    scope text COLLATE "C" NOT NULL,
    app_id text COLLATE "C" NOT NULL,
    UNIQUE (scope, app_id)
);

CREATE TABLE property_names (
    scope text COLLATE "C" NOT NULL,
    app_id text COLLATE "C" NOT NULL,
    input_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    PRIMARY KEY (scope, app_id, input_id),
    UNIQUE (scope, app_id, name)
);

CREATE TABLE waiting_calls (
    id text COLLATE "C" PRIMARY KEY,
    run_id text COLLATE "C" NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    process_id text COLLATE "C" NOT NULL,
    call_number bigint GENERATED ALWAYS AS IDENTITY
);

CREATE TABLE uploads (
    account_id text COLLATE "C" NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    url text COLLATE "C" NOT NULL DEFAULT '',
    expires_at double precision NOT NULL DEFAULT 0,
    provider_upload_id text COLLATE "C" NOT NULL DEFAULT '',
    note text COLLATE "C" NOT NULL DEFAULT '',
    claimed_by text COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (account_id, sha256)
);

CREATE INDEX uploads_by_expiry ON uploads (expires_at) WHERE url <> '';

CREATE TABLE batches (
    id text COLLATE "C" PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    shared_json text COLLATE "C" NOT NULL,
    price_each_credits double precision,
    variations bigint NOT NULL,
    stop_after_failures bigint NOT NULL,
    stop_reason text COLLATE "C" NOT NULL DEFAULT '',
    csv_path text COLLATE "C" NOT NULL DEFAULT '',
    csv_problem text COLLATE "C" NOT NULL DEFAULT ''
);

CREATE TABLE batch_rows (
    batch_id text COLLATE "C" NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    n bigint NOT NULL,
    table_row bigint NOT NULL,
    variation bigint NOT NULL,
    arguments_json text COLLATE "C" NOT NULL,
    display_json text COLLATE "C" NOT NULL,
    raw_digest text COLLATE "C" NOT NULL,
    canonical_digest text COLLATE "C" NOT NULL,
    run_id text COLLATE "C" NOT NULL DEFAULT '',
    is_dropped boolean NOT NULL DEFAULT false,
    folded_display text COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (batch_id, n)
);

CREATE TABLE tokens (
    id text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    sha256 text COLLATE "C" NOT NULL UNIQUE,
    owner text COLLATE "C" NOT NULL,
    account_ids text COLLATE "C",
    spending_limits text COLLATE "C",
    created_at double precision NOT NULL,
    expires_at double precision,
    revoked_at double precision,
    token_number bigint GENERATED ALWAYS AS IDENTITY
);

CREATE UNIQUE INDEX tokens_by_name ON tokens (name) WHERE revoked_at IS NULL;

CREATE TABLE received_files (
    id text COLLATE "C" PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    requested_at double precision NOT NULL,
    expires_at double precision NOT NULL,
    purpose text COLLATE "C" NOT NULL,
    received_at double precision,
    file_name text COLLATE "C" NOT NULL,
    mime_type text COLLATE "C" NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    file_number bigint GENERATED ALWAYS AS IDENTITY
);

CREATE INDEX received_files_by_owner ON received_files (owner);

CREATE TABLE file_use (owner text COLLATE "C" PRIMARY KEY, size_bytes bigint NOT NULL);

CREATE INDEX runs_by_owner ON runs (owner, accepted_at, id) WHERE batch_id = '';

CREATE INDEX runs_by_owner_and_state ON runs (owner, state, accepted_at, id);

CREATE INDEX runs_undelivered_by_owner ON runs (owner, accepted_at, id) WHERE delivered_at IS NULL AND batch_id = '';

CREATE INDEX runs_by_delivery ON runs (owner, delivered_at) WHERE delivered_at IS NOT NULL;

CREATE INDEX runs_live ON runs (account_id, accepted_at, id) WHERE finished_at IS NULL;

CREATE INDEX runs_live_by_owner ON runs (owner, accepted_at, id) WHERE finished_at IS NULL;

CREATE INDEX outputs_unsaved ON outputs (saved_path) WHERE saved_path = '' AND url IS NOT NULL;

CREATE INDEX batch_rows_waiting ON batch_rows (batch_id, n) WHERE run_id = '' AND NOT is_dropped;

CREATE INDEX runs_by_app ON runs (account_id, app_id, finished_at);

CREATE INDEX runs_by_use ON runs (account_id, accepted_at, app_id);

CREATE INDEX runs_unknown ON runs (account_id, unknown_at) WHERE state = 'unknown';

CREATE INDEX runs_by_provider_run ON runs (account_id, provider_run_id) WHERE provider_run_id <> '';

CREATE INDEX runs_ended ON runs (owner, finished_at) WHERE finished_at IS NOT NULL;

CREATE INDEX runs_ended_in_boot ON runs (owner, boot_id, accepted_boot_seconds) WHERE finished_at IS NOT NULL;

CREATE INDEX runs_ended_of_account ON runs (account_id, finished_at, boot_id, accepted_boot_seconds, spent_credits)
    WHERE finished_at IS NOT NULL;

CREATE INDEX runs_ended_of_account_in_boot
    ON runs (account_id, boot_id, accepted_boot_seconds, finished_at, accepted_at, spent_credits)
    WHERE finished_at IS NOT NULL;

CREATE INDEX runs_by_raw_digest ON runs (raw_digest, app_id)
    WHERE delivered_at IS NULL OR is_delivery_cancelled OR state = 'unknown';

CREATE INDEX runs_by_canonical_digest ON runs (canonical_digest, app_id)
    WHERE delivered_at IS NULL OR is_delivery_cancelled OR state = 'unknown';

CREATE INDEX runs_undelivered ON runs (account_id) WHERE delivered_at IS NULL;

CREATE INDEX waiting_calls_by_run ON waiting_calls (run_id);

CREATE INDEX batch_rows_by_run ON batch_rows (run_id) WHERE run_id <> '';

-- Links are longer than an ordered index takes.
CREATE INDEX outputs_by_url ON outputs USING hash (url);

-- A link that was replaced differs behind the question mark alone.
CREATE INDEX outputs_by_place ON outputs USING hash (split_part(url, '?', 1));

CREATE INDEX waiting_calls_by_process ON waiting_calls (process_id);

CREATE INDEX runs_by_change ON runs (changed_number);

-- What the reconciler compares with the jobs.
CREATE INDEX runs_to_execute ON runs (id) WHERE is_queued AND finished_at IS NULL;

CREATE FUNCTION note_file_use() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    added bigint := 0;
BEGIN
    IF NEW.saved_path <> '' THEN
        added := coalesce(NEW.size_bytes, 0);
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF OLD.saved_path <> '' THEN
            added := added - coalesce(OLD.size_bytes, 0);
        END IF;
    END IF;
    IF added <> 0 THEN
        INSERT INTO file_use SELECT owner, added FROM runs WHERE id = NEW.run_id
            ON CONFLICT (owner) DO UPDATE SET size_bytes = file_use.size_bytes + excluded.size_bytes;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER outputs_saved AFTER INSERT OR UPDATE OF saved_path, size_bytes ON outputs
    FOR EACH ROW EXECUTE FUNCTION note_file_use();

CREATE FUNCTION forget_file_use() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE file_use SET size_bytes = size_bytes
        - (SELECT coalesce(sum(size_bytes), 0) FROM outputs WHERE run_id = OLD.id AND saved_path <> '')
        WHERE owner = OLD.owner;
    RETURN OLD;
END
$$;

CREATE TRIGGER runs_erased BEFORE DELETE ON runs FOR EACH ROW EXECUTE FUNCTION forget_file_use();

-- The whole arguments of a run that any worker may start, until it is started.
CREATE TABLE whole_arguments (
    run_id text COLLATE "C" PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    arguments_json text COLLATE "C" NOT NULL
);

-- Replicas and workers; one whose beat is old is dead, and one that has ended says so.
CREATE TABLE processes (
    id text COLLATE "C" PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    beat_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
);

-- The request window of each account, as a text that `network/ratelimit` writes. Its instants are of a clock that the row
-- itself carries: it goes with the clock of the database, and neither back nor forward when that one is set.
CREATE TABLE rate_windows (
    key text COLLATE "C" PRIMARY KEY,
    text text COLLATE "C" NOT NULL,
    seconds double precision NOT NULL,
    last_seconds double precision NOT NULL,
    used_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- What may be used once, or counts no longer: sign-in links, sessions that were signed out.
CREATE TABLE used_marks (
    mark text COLLATE "C" PRIMARY KEY,
    expires_at double precision NOT NULL
);

-- The last transaction of each connection of a process; by it the process finds out whether a lost COMMIT happened.
CREATE TABLE commits (
    slot text COLLATE "C" PRIMARY KEY,
    number bigint NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
