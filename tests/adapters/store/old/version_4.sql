-- The state file, version 4. Everything after the claim is here; nothing else is the truth.
-- Times are ISO 8601 in UTC, sizes bytes, durations seconds, `*_ns` nanoseconds since 1970.

CREATE TABLE daemon (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    daemon_id TEXT NOT NULL,
    starts INTEGER NOT NULL DEFAULT 0,
    is_clean INTEGER NOT NULL DEFAULT 1 CHECK (is_clean IN (0, 1)), -- the last daemon stopped well
    -- a daemon has taken up work, and was not told to stop; when the last ones died in this
    is_working INTEGER NOT NULL DEFAULT 0 CHECK (is_working IN (0, 1)),
    deaths TEXT NOT NULL DEFAULT '[]'
) STRICT;

-- Recipes of which nothing is taken before a person says so (`recover --resume`).
CREATE TABLE paused (
    recipe TEXT PRIMARY KEY,
    since TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Folders that bear our marker, by breaker name (`inbox:default`, `outbox`, `archive`, `failed`).
CREATE TABLE roots (
    name TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    marked_at TEXT NOT NULL,
    first_scan_at TEXT,
    mount TEXT NOT NULL DEFAULT ''
) STRICT;

-- What lay in a root at its very first scan and is not wanted (`existing = "ignore"`). A row that
-- was there before that scan, with an empty sight, is what a person asked for: it is wanted.
CREATE TABLE existing (
    root TEXT NOT NULL,
    path TEXT NOT NULL,
    sight TEXT NOT NULL,
    PRIMARY KEY (root, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE cases (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    case_id TEXT NOT NULL UNIQUE,
    case_name TEXT NOT NULL,
    recipe TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN (
        'claiming', 'submitting', 'uploading', 'notifying',
        'waiting', 'fetching', 'delivering', 'archiving',
        'done', 'partial', 'duplicate', 'failed', 'held', 'cancelled')),
    verdict TEXT CHECK (verdict IN ('done', 'partial', 'duplicate', 'failed', 'cancelled')),
    folder TEXT NOT NULL,
    content TEXT NOT NULL DEFAULT '',
    sight TEXT NOT NULL DEFAULT '',
    job TEXT NOT NULL,
    job_json TEXT NOT NULL DEFAULT '[]',
    engine_version TEXT NOT NULL,
    request_key TEXT NOT NULL,
    sizes_key TEXT NOT NULL,
    content_key TEXT,
    job_id TEXT,
    paid INTEGER NOT NULL DEFAULT 0 CHECK (paid IN (0, 1)),
    generation INTEGER NOT NULL DEFAULT 1,
    retries INTEGER NOT NULL DEFAULT 0,
    is_rerun INTEGER NOT NULL DEFAULT 0,
    is_settling INTEGER NOT NULL DEFAULT 0,
    publishing INTEGER NOT NULL DEFAULT 0,
    is_noted INTEGER NOT NULL DEFAULT 0,
    first_submit_at TEXT,
    skipped TEXT NOT NULL DEFAULT '[]',
    doom TEXT,
    hold TEXT,
    hold_retries INTEGER NOT NULL DEFAULT 0,
    split_of TEXT NOT NULL DEFAULT '',
    late_for TEXT NOT NULL DEFAULT '',
    due_step TEXT,
    due_problem TEXT,
    problem TEXT,
    wait_reason TEXT,
    tally TEXT NOT NULL DEFAULT '{}',
    engine_result TEXT,
    result_status TEXT NOT NULL DEFAULT 'complete',
    duplicate_of TEXT,
    outbox TEXT,
    detected TEXT NOT NULL,
    claimed TEXT,
    submitted TEXT,
    uploaded TEXT,
    finished TEXT,
    delivered TEXT,
    updated TEXT NOT NULL,
    -- the paid edge needs a job to be paid for, except where the submit itself is the edge
    CHECK (paid = 0 OR job_id IS NOT NULL
        OR state NOT IN ('claiming', 'uploading', 'notifying', 'waiting', 'fetching')),
    CHECK (job_id IS NOT NULL OR state NOT IN ('uploading', 'notifying', 'waiting', 'fetching')),
    CHECK (verdict IS NOT NULL OR state <> 'archiving'),
    CHECK (problem IS NOT NULL OR state NOT IN ('held', 'failed'))
) STRICT;

CREATE UNIQUE INDEX one_case_a_job ON cases (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX cases_by_state ON cases (state);
CREATE INDEX cases_by_first_submit ON cases (first_submit_at) WHERE first_submit_at IS NOT NULL;
CREATE INDEX cases_with_note ON cases (case_id) WHERE is_noted = 1;
CREATE INDEX cases_by_folder ON cases (split_of) WHERE split_of <> '';
CREATE INDEX cases_by_size ON cases (request_key, sizes_key);
-- Of thousands of one size, those of one content, or not read yet, are found without the others.
CREATE INDEX cases_by_content ON cases (request_key, sizes_key, content_key, state);

-- A folder name belongs to one case, compared without case, in outbox, archive and failed alike.
CREATE TABLE names (
    name_key TEXT PRIMARY KEY,
    case_id TEXT NOT NULL REFERENCES cases (case_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Every job that was ever made, so that no answer of the Engine is forgotten.
CREATE TABLE jobs (
    job_id TEXT PRIMARY KEY,
    case_id TEXT NOT NULL REFERENCES cases (case_id),
    generation INTEGER NOT NULL,
    made_at TEXT NOT NULL,
    may_be_paid INTEGER NOT NULL DEFAULT 0 CHECK (may_be_paid IN (0, 1))
) STRICT;

-- Never pay twice: one job a case that may cost money, unless a person allowed another.
CREATE UNIQUE INDEX one_paid_job ON jobs (case_id, generation) WHERE may_be_paid = 1;

CREATE TABLE moves (
    case_id TEXT NOT NULL REFERENCES cases (case_id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    PRIMARY KEY (case_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE inputs (
    case_id TEXT NOT NULL REFERENCES cases (case_id) ON DELETE CASCADE,
    modality TEXT NOT NULL,
    name TEXT NOT NULL,
    extension TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    sha256 TEXT,
    download_url TEXT,
    upload_url TEXT,
    notify_url TEXT,
    is_uploaded INTEGER NOT NULL DEFAULT 0,
    notified TEXT NOT NULL DEFAULT 'no' CHECK (notified IN ('no', 'begun', 'done', 'refused')),
    series_uid TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (case_id, modality),
    -- all uploads end before a notification of the same input begins
    CHECK (notified = 'no' OR is_uploaded = 1)
) STRICT, WITHOUT ROWID;

CREATE INDEX inputs_by_series ON inputs (series_uid) WHERE series_uid <> '';

-- The files of an input that is a series, in the order in which they are sent. `owner` is the case
-- that holds the file, '' for this one.
CREATE TABLE slices (
    case_id TEXT NOT NULL REFERENCES cases (case_id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    sha256 TEXT,
    owner TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (case_id, position)
) STRICT, WITHOUT ROWID;

-- What lies in a root where nothing is moved, and was seen: sent by a case, or not wanted (''). Its
-- content (an SOP Instance UID, or a digest) is there once somebody had to read the file.
CREATE TABLE remembered (
    root TEXT NOT NULL,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    case_id TEXT NOT NULL DEFAULT '',
    content TEXT,
    PRIMARY KEY (root, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX remembered_by_content ON remembered (root, content) WHERE content IS NOT NULL;
CREATE INDEX remembered_unread ON remembered (root, size) WHERE content IS NULL;
CREATE INDEX remembered_by_case ON remembered (case_id) WHERE case_id <> '';

-- All uploads of a job end before its first notification begins: that is where paying starts.
CREATE TRIGGER uploads_before_notifications BEFORE UPDATE OF notified ON inputs
WHEN NEW.notified = 'begun' AND EXISTS (
    SELECT 1 FROM inputs
    WHERE case_id = NEW.case_id AND is_uploaded = 0 AND download_url IS NULL)
BEGIN
    SELECT RAISE (ABORT, 'a notification before all uploads have ended');
END;

CREATE TABLE outputs (
    case_id TEXT NOT NULL REFERENCES cases (case_id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    structures TEXT NOT NULL,
    extension TEXT NOT NULL,
    status TEXT NOT NULL,
    announced_size INTEGER,
    url TEXT,
    file TEXT,
    size INTEGER,
    sha256 TEXT,
    PRIMARY KEY (case_id, position)
) STRICT, WITHOUT ROWID;

-- The trail. A row with a step and no outcome is an attempt under way.
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    case_id TEXT NOT NULL REFERENCES cases (case_id) ON DELETE CASCADE,
    time TEXT NOT NULL,
    event TEXT NOT NULL,
    step TEXT,
    attempt INTEGER,
    outcome TEXT,
    reason TEXT,
    duration_s REAL
) STRICT;

CREATE INDEX events_by_case ON events (case_id, id);
CREATE UNIQUE INDEX one_attempt_a_case ON events (case_id)
    WHERE step IS NOT NULL AND outcome IS NULL;

-- What other processes ask of the daemon: a person's words.
CREATE TABLE words (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    word TEXT NOT NULL CHECK (word IN ('retry', 'cancel', 'take')),
    subject TEXT NOT NULL,
    may_cost INTEGER NOT NULL DEFAULT 0,
    said_at TEXT NOT NULL
) STRICT;

-- What the daemon shows to other processes; it never reads it back.
CREATE TABLE snapshot (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    body TEXT NOT NULL,
    written_at TEXT NOT NULL
) STRICT;

-- What people are to be told. One that nobody was told yet gives way to a younger one of its key.
-- `facts` are JSON without names of patients, unless the configuration asks for them.
CREATE TABLE notices (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    notice_id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    is_urgent INTEGER NOT NULL DEFAULT 0 CHECK (is_urgent IN (0, 1)),
    is_begun INTEGER NOT NULL DEFAULT 0 CHECK (is_begun IN (0, 1)),
    count INTEGER NOT NULL DEFAULT 1,
    time TEXT NOT NULL,
    facts TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX one_notice_a_key ON notices (key) WHERE is_begun = 0;

-- Who was told, or will not be; a notice goes when all were.
CREATE TABLE notices_told (
    seq INTEGER NOT NULL REFERENCES notices (seq) ON DELETE CASCADE,
    target TEXT NOT NULL,
    PRIMARY KEY (seq, target)
) STRICT, WITHOUT ROWID;

-- What of the daemon itself people were told last: open breakers, the day of the last digest.
CREATE TABLE told (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Rows in every state, written by the verbs of that version.
INSERT INTO "cases" VALUES(1,'claiming1','scan','default','claiming',NULL,'scan','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,NULL,0,1,0,0,0,0,0,NULL,'[]',NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'{}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z',NULL,NULL,NULL,NULL,NULL,'2026-09-21T14:13:20.000Z');
INSERT INTO "cases" VALUES(2,'submitting1','scan','default','submitting',NULL,'scan.2','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,NULL,0,1,0,0,0,0,0,NULL,'[]',NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0, "deaths": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:13:21.000Z',NULL,NULL,NULL,NULL,'2026-09-21T14:13:21.000Z');
INSERT INTO "cases" VALUES(3,'uploading1','scan','default','uploading',NULL,'scan.3','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,'job-uploading1-1',0,1,0,0,0,0,0,'2026-09-21T14:13:22.000Z','[]',NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0, "deaths": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:13:22.000Z','2026-09-21T14:13:22.000Z',NULL,NULL,NULL,'2026-09-21T14:13:22.000Z');
INSERT INTO "cases" VALUES(4,'notifying1','scan','default','notifying',NULL,'scan.4','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-notifying1-1',1,1,0,0,0,0,0,'2026-09-21T14:13:23.000Z','[]',NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0, "deaths": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:13:23.000Z','2026-09-21T14:13:23.000Z','2026-09-21T14:13:23.000Z',NULL,NULL,'2026-09-21T14:13:23.000Z');
INSERT INTO "cases" VALUES(5,'waiting1','scan','default','waiting',NULL,'scan.5','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-waiting1-1',1,1,0,0,0,0,0,'2026-09-21T14:13:24.000Z','[]',NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0, "deaths": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:13:24.000Z','2026-09-21T14:13:24.000Z','2026-09-21T14:13:24.000Z',NULL,NULL,'2026-09-21T14:13:24.000Z');
INSERT INTO "cases" VALUES(6,'fetching1','scan','default','fetching',NULL,'scan.6','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-fetching1-1',1,1,0,0,0,0,0,'2026-09-21T14:13:25.000Z','[]',NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0, "deaths": 0}','{}','complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:13:25.000Z','2026-09-21T14:13:25.000Z','2026-09-21T14:13:25.000Z','2026-09-21T14:13:25.000Z',NULL,'2026-09-21T14:13:25.000Z');
INSERT INTO "cases" VALUES(7,'delivering1','scan','default','delivering',NULL,'scan.7','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-delivering1-1',1,1,0,0,0,0,0,'2026-09-21T14:13:26.000Z','[]',NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0, "deaths": 0}','{}','complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:13:26.000Z','2026-09-21T14:13:26.000Z','2026-09-21T14:13:26.000Z','2026-09-21T14:13:26.000Z',NULL,'2026-09-21T14:13:26.000Z');
INSERT INTO "cases" VALUES(8,'archiving1','scan','default','archiving','done','scan.8','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-archiving1-1',1,1,0,0,0,1,0,'2026-09-21T14:13:27.000Z','[]',NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0, "deaths": 0}','{}','complete',NULL,'/out/scan','2026-09-21T14:12:20.000Z','2026-09-21T14:13:27.000Z','2026-09-21T14:13:27.000Z','2026-09-21T14:13:27.000Z','2026-09-21T14:13:27.000Z','2026-09-21T14:13:27.000Z','2026-09-21T14:13:27.000Z');
INSERT INTO "cases" VALUES(9,'done1','scan','default','done','done','scan.9','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-done1-1',1,1,0,0,0,1,0,'2026-09-21T14:13:28.000Z','[]',NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0, "deaths": 0}','{}','complete',NULL,'/out/scan','2026-09-21T14:12:20.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z');
INSERT INTO "cases" VALUES(10,'partial1','scan','default','partial','partial','scan.10','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-partial1-1',1,1,0,0,0,1,0,'2026-09-21T14:13:28.000Z','[]',NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0, "deaths": 0}','{"a": 1}','partial',NULL,'/srv/vpe/outbox/scan.10','2026-09-21T14:12:20.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z');
INSERT INTO "cases" VALUES(11,'duplicate1','scan','default','duplicate','duplicate','scan.11','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,NULL,0,1,0,0,0,1,0,NULL,'[]',NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0, "deaths": 0}',NULL,'duplicate','done1','/srv/vpe/outbox/scan.11','2026-09-21T14:12:20.000Z','2026-09-21T14:13:28.000Z',NULL,NULL,NULL,'2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z');
INSERT INTO "cases" VALUES(12,'failed1','M�dcfcller','default','failed','failed','M_ller','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,NULL,0,1,0,0,0,0,0,NULL,'[]',NULL,NULL,0,'','',NULL,NULL,'{"class": "input", "code": "bad_scan", "message": "The scan is bad.", "hint": "Scan again."}',NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0, "deaths": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z',NULL,NULL,NULL,NULL,NULL,'2026-09-21T14:13:28.000Z');
INSERT INTO "cases" VALUES(13,'cancelled1','scan','default','cancelled','cancelled','scan.12','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,'job-cancelled1-1',0,1,0,0,0,0,0,'2026-09-21T14:13:28.000Z','[]',NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0, "deaths": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z',NULL,NULL,NULL,'2026-09-21T14:13:28.000Z');
INSERT INTO "cases" VALUES(14,'series1','scan','default','waiting',NULL,'scan.13','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,'job-series1-1',1,1,0,0,0,0,0,'2026-09-21T14:13:28.000Z','[]',NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0, "deaths": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z',NULL,NULL,'2026-09-21T14:13:28.000Z');
INSERT INTO "cases" VALUES(15,'held1','scan','default','held',NULL,'scan.14','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,NULL,0,1,0,0,0,0,0,NULL,'[]',NULL,'{"class": "input", "code": "series_gap", "message": "512 declared, 509 here.", "hint": "Retry it."}',0,'','',NULL,NULL,'{"class": "input", "code": "series_gap", "message": "512 declared, 509 here.", "hint": "Retry it."}',NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0, "deaths": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:13:28.000Z',NULL,NULL,NULL,NULL,'2026-09-21T14:13:28.000Z');
INSERT INTO "cases" VALUES(16,'late1','scan','default','claiming',NULL,'scan.15','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,NULL,0,1,0,0,0,0,0,NULL,'[]',NULL,'{"class": "input", "code": "series_gap", "message": "512 declared, 509 here.", "hint": "Retry it."}',0,'','series1',NULL,NULL,NULL,NULL,'{}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z',NULL,NULL,NULL,NULL,NULL,'2026-09-21T14:13:28.000Z');
INSERT INTO "cases" VALUES(17,'first1','Anna--1','default','claiming',NULL,'Anna--1','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,NULL,0,1,0,0,0,0,0,NULL,'[]',NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'{}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z',NULL,NULL,NULL,NULL,NULL,'2026-09-21T14:13:28.000Z');
INSERT INTO "cases" VALUES(18,'part1','Anna--2','default','claiming',NULL,'Anna--2','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,NULL,0,1,0,0,0,0,0,NULL,'[]',NULL,NULL,0,'first1','',NULL,NULL,NULL,NULL,'{}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z',NULL,NULL,NULL,NULL,NULL,'2026-09-21T14:13:28.000Z');
INSERT INTO "cases" VALUES(19,'poisoned1','scan','default','held',NULL,'scan.16','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-poisoned1-1',1,1,0,0,0,0,0,'2026-09-21T14:13:28.000Z','[]',NULL,NULL,0,'','','fetching',NULL,'{"class": "unknown", "code": "poisoned", "message": "The daemon died in it.", "hint": "Look."}',NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0, "deaths": 0}','{}','complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z','2026-09-21T14:13:28.000Z',NULL,'2026-09-21T14:13:28.000Z');
INSERT INTO "cases" VALUES(20,'pacs1','scan','pacs','claiming',NULL,'scan.17','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,NULL,0,1,0,0,0,0,0,NULL,'[]',NULL,NULL,0,'','',NULL,NULL,NULL,NULL,'{}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z',NULL,NULL,NULL,NULL,NULL,'2026-09-21T14:13:28.000Z');
INSERT INTO "daemon" VALUES(1,'house0000004',2,0,1,'[1790000000.0]');
INSERT INTO "events" VALUES(1,'claiming1','2026-09-21T14:13:20.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(2,'submitting1','2026-09-21T14:13:21.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(3,'submitting1','2026-09-21T14:13:21.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(4,'submitting1','2026-09-21T14:13:21.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(5,'uploading1','2026-09-21T14:13:22.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(6,'uploading1','2026-09-21T14:13:22.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(7,'uploading1','2026-09-21T14:13:22.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(8,'uploading1','2026-09-21T14:13:22.000Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(9,'notifying1','2026-09-21T14:13:23.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(10,'notifying1','2026-09-21T14:13:23.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(11,'notifying1','2026-09-21T14:13:23.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(12,'notifying1','2026-09-21T14:13:23.000Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(13,'notifying1','2026-09-21T14:13:23.000Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(14,'waiting1','2026-09-21T14:13:24.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(15,'waiting1','2026-09-21T14:13:24.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(16,'waiting1','2026-09-21T14:13:24.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(17,'waiting1','2026-09-21T14:13:24.000Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(18,'waiting1','2026-09-21T14:13:24.000Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(19,'waiting1','2026-09-21T14:13:24.000Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(20,'fetching1','2026-09-21T14:13:25.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(21,'fetching1','2026-09-21T14:13:25.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(22,'fetching1','2026-09-21T14:13:25.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(23,'fetching1','2026-09-21T14:13:25.000Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(24,'fetching1','2026-09-21T14:13:25.000Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(25,'fetching1','2026-09-21T14:13:25.000Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(26,'fetching1','2026-09-21T14:13:25.000Z','step.done','waiting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(27,'delivering1','2026-09-21T14:13:26.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(28,'delivering1','2026-09-21T14:13:26.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(29,'delivering1','2026-09-21T14:13:26.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(30,'delivering1','2026-09-21T14:13:26.000Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(31,'delivering1','2026-09-21T14:13:26.000Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(32,'delivering1','2026-09-21T14:13:26.000Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(33,'delivering1','2026-09-21T14:13:26.000Z','step.done','waiting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(34,'delivering1','2026-09-21T14:13:26.000Z','step.done','fetching',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(35,'archiving1','2026-09-21T14:13:27.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(36,'archiving1','2026-09-21T14:13:27.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(37,'archiving1','2026-09-21T14:13:27.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(38,'archiving1','2026-09-21T14:13:27.000Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(39,'archiving1','2026-09-21T14:13:27.000Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(40,'archiving1','2026-09-21T14:13:27.000Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(41,'archiving1','2026-09-21T14:13:27.000Z','step.done','waiting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(42,'archiving1','2026-09-21T14:13:27.000Z','step.done','fetching',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(43,'archiving1','2026-09-21T14:13:27.000Z','step.done','delivering',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(44,'done1','2026-09-21T14:13:28.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(45,'done1','2026-09-21T14:13:28.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(46,'done1','2026-09-21T14:13:28.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(47,'done1','2026-09-21T14:13:28.000Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(48,'done1','2026-09-21T14:13:28.000Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(49,'done1','2026-09-21T14:13:28.000Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(50,'done1','2026-09-21T14:13:28.000Z','step.done','waiting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(51,'done1','2026-09-21T14:13:28.000Z','step.done','fetching',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(52,'done1','2026-09-21T14:13:28.000Z','step.done','delivering',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(53,'done1','2026-09-21T14:13:28.000Z','step.done','archiving',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(54,'done1','2026-09-21T14:13:28.000Z','case.done',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(55,'partial1','2026-09-21T14:13:28.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(56,'partial1','2026-09-21T14:13:28.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(57,'partial1','2026-09-21T14:13:28.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(58,'partial1','2026-09-21T14:13:28.000Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(59,'partial1','2026-09-21T14:13:28.000Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(60,'partial1','2026-09-21T14:13:28.000Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(61,'partial1','2026-09-21T14:13:28.000Z','step.done','waiting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(62,'partial1','2026-09-21T14:13:28.000Z','step.done','fetching',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(63,'partial1','2026-09-21T14:13:28.000Z','step.done','delivering',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(64,'partial1','2026-09-21T14:13:28.000Z','step.done','archiving',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(65,'partial1','2026-09-21T14:13:28.000Z','case.partial',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(66,'duplicate1','2026-09-21T14:13:28.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(67,'duplicate1','2026-09-21T14:13:28.000Z','step.done','claiming',1,'duplicate',NULL,1.0);
INSERT INTO "events" VALUES(68,'duplicate1','2026-09-21T14:13:28.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(69,'duplicate1','2026-09-21T14:13:28.000Z','step.done','delivering',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(70,'duplicate1','2026-09-21T14:13:28.000Z','step.done','archiving',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(71,'duplicate1','2026-09-21T14:13:28.000Z','case.duplicate',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(72,'failed1','2026-09-21T14:13:28.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(73,'failed1','2026-09-21T14:13:28.000Z','step.done','claiming',1,'input','The scan is bad.',1.0);
INSERT INTO "events" VALUES(74,'failed1','2026-09-21T14:13:28.000Z','step.done','archiving',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(75,'failed1','2026-09-21T14:13:28.000Z','case.failed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(76,'cancelled1','2026-09-21T14:13:28.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(77,'cancelled1','2026-09-21T14:13:28.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(78,'cancelled1','2026-09-21T14:13:28.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(79,'cancelled1','2026-09-21T14:13:28.000Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(80,'cancelled1','2026-09-21T14:13:28.000Z','word.done',NULL,NULL,'cancel',NULL,NULL);
INSERT INTO "events" VALUES(81,'cancelled1','2026-09-21T14:13:28.000Z','step.done','archiving',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(82,'cancelled1','2026-09-21T14:13:28.000Z','case.cancelled',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(83,'series1','2026-09-21T14:13:28.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(84,'series1','2026-09-21T14:13:28.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(85,'series1','2026-09-21T14:13:28.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(86,'series1','2026-09-21T14:13:28.000Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(87,'series1','2026-09-21T14:13:28.000Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(88,'series1','2026-09-21T14:13:28.000Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(89,'held1','2026-09-21T14:13:28.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(90,'held1','2026-09-21T14:13:28.000Z','step.done','claiming',1,'ambiguous','512 declared, 509 here.',1.0);
INSERT INTO "events" VALUES(91,'held1','2026-09-21T14:13:28.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(92,'held1','2026-09-21T14:13:28.000Z','case.held',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(93,'late1','2026-09-21T14:13:28.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(94,'first1','2026-09-21T14:13:28.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(95,'part1','2026-09-21T14:13:28.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(96,'notifying1','2026-09-21T14:13:28.000Z','step.begun','notifying',1,NULL,NULL,NULL);
INSERT INTO "events" VALUES(97,'poisoned1','2026-09-21T14:13:28.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(98,'poisoned1','2026-09-21T14:13:28.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(99,'poisoned1','2026-09-21T14:13:28.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(100,'poisoned1','2026-09-21T14:13:28.000Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(101,'poisoned1','2026-09-21T14:13:28.000Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(102,'poisoned1','2026-09-21T14:13:28.000Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(103,'poisoned1','2026-09-21T14:13:28.000Z','step.done','waiting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(104,'poisoned1','2026-09-21T14:13:28.000Z','step.done','fetching',1,'poisoned','The daemon died in it.',1.0);
INSERT INTO "events" VALUES(105,'poisoned1','2026-09-21T14:13:28.000Z','case.held',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(106,'pacs1','2026-09-21T14:13:28.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "existing" VALUES('inbox:pacs /mnt/pacs','old.dcm','sight');
INSERT INTO "inputs" VALUES('archiving1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'done','');
INSERT INTO "inputs" VALUES('cancelled1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,NULL,NULL,'https://b.example/up','https://e.example/notify',0,'no','');
INSERT INTO "inputs" VALUES('claiming1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,NULL,NULL,NULL,NULL,0,'no','');
INSERT INTO "inputs" VALUES('delivering1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'done','');
INSERT INTO "inputs" VALUES('done1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'done','');
INSERT INTO "inputs" VALUES('duplicate1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,NULL,NULL,NULL,NULL,0,'no','');
INSERT INTO "inputs" VALUES('failed1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,NULL,NULL,NULL,NULL,0,'no','');
INSERT INTO "inputs" VALUES('fetching1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'done','');
INSERT INTO "inputs" VALUES('first1','cbct','series.zip','.zip',1000,4611686018427387904,2,3,NULL,NULL,NULL,NULL,0,'no','1.2.3');
INSERT INTO "inputs" VALUES('held1','cbct','series.zip','.zip',1000,4611686018427387904,2,3,NULL,NULL,NULL,NULL,0,'no','1.2.2');
INSERT INTO "inputs" VALUES('late1','cbct','series.zip','.zip',1000,4611686018427387904,2,3,NULL,NULL,NULL,NULL,0,'no','1.2.1');
INSERT INTO "inputs" VALUES('notifying1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'begun','');
INSERT INTO "inputs" VALUES('pacs1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,NULL,NULL,NULL,NULL,0,'no','');
INSERT INTO "inputs" VALUES('part1','cbct','series.zip','.zip',1000,4611686018427387904,2,3,NULL,NULL,NULL,NULL,0,'no','1.2.4');
INSERT INTO "inputs" VALUES('partial1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'done','');
INSERT INTO "inputs" VALUES('poisoned1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'done','');
INSERT INTO "inputs" VALUES('series1','cbct','series.zip','.zip',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'done','1.2.1');
INSERT INTO "inputs" VALUES('submitting1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,NULL,NULL,NULL,NULL,0,'no','');
INSERT INTO "inputs" VALUES('uploading1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,NULL,NULL,'https://b.example/up','https://e.example/notify',0,'no','');
INSERT INTO "inputs" VALUES('waiting1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'done','');
INSERT INTO "jobs" VALUES('job-uploading1-1','uploading1',1,'2026-09-21T14:13:22.000Z',0);
INSERT INTO "jobs" VALUES('job-notifying1-1','notifying1',1,'2026-09-21T14:13:23.000Z',1);
INSERT INTO "jobs" VALUES('job-waiting1-1','waiting1',1,'2026-09-21T14:13:24.000Z',1);
INSERT INTO "jobs" VALUES('job-fetching1-1','fetching1',1,'2026-09-21T14:13:25.000Z',1);
INSERT INTO "jobs" VALUES('job-delivering1-1','delivering1',1,'2026-09-21T14:13:26.000Z',1);
INSERT INTO "jobs" VALUES('job-archiving1-1','archiving1',1,'2026-09-21T14:13:27.000Z',1);
INSERT INTO "jobs" VALUES('job-done1-1','done1',1,'2026-09-21T14:13:28.000Z',1);
INSERT INTO "jobs" VALUES('job-partial1-1','partial1',1,'2026-09-21T14:13:28.000Z',1);
INSERT INTO "jobs" VALUES('job-cancelled1-1','cancelled1',1,'2026-09-21T14:13:28.000Z',0);
INSERT INTO "jobs" VALUES('job-series1-1','series1',1,'2026-09-21T14:13:28.000Z',1);
INSERT INTO "jobs" VALUES('job-poisoned1-1','poisoned1',1,'2026-09-21T14:13:28.000Z',1);
INSERT INTO "moves" VALUES('archiving1',0,'/in/scan.dcm','archiving1/scan.dcm');
INSERT INTO "moves" VALUES('cancelled1',0,'/in/scan.dcm','cancelled1/scan.dcm');
INSERT INTO "moves" VALUES('claiming1',0,'/in/scan.dcm','claiming1/scan.dcm');
INSERT INTO "moves" VALUES('delivering1',0,'/in/scan.dcm','delivering1/scan.dcm');
INSERT INTO "moves" VALUES('done1',0,'/in/scan.dcm','done1/scan.dcm');
INSERT INTO "moves" VALUES('duplicate1',0,'/in/scan.dcm','duplicate1/scan.dcm');
INSERT INTO "moves" VALUES('failed1',0,'/in/scan.dcm','failed1/scan.dcm');
INSERT INTO "moves" VALUES('fetching1',0,'/in/scan.dcm','fetching1/scan.dcm');
INSERT INTO "moves" VALUES('first1',0,'/in/scan.dcm','first1/scan.dcm');
INSERT INTO "moves" VALUES('held1',0,'/in/scan.dcm','held1/scan.dcm');
INSERT INTO "moves" VALUES('late1',0,'/in/scan.dcm','late1/scan.dcm');
INSERT INTO "moves" VALUES('notifying1',0,'/in/scan.dcm','notifying1/scan.dcm');
INSERT INTO "moves" VALUES('pacs1',0,'/in/scan.dcm','pacs1/scan.dcm');
INSERT INTO "moves" VALUES('part1',0,'/in/scan.dcm','part1/scan.dcm');
INSERT INTO "moves" VALUES('partial1',0,'/in/scan.dcm','partial1/scan.dcm');
INSERT INTO "moves" VALUES('poisoned1',0,'/in/scan.dcm','poisoned1/scan.dcm');
INSERT INTO "moves" VALUES('series1',0,'/in/0.dcm','series1/0.dcm');
INSERT INTO "moves" VALUES('series1',1,'/in/1.dcm','series1/1.dcm');
INSERT INTO "moves" VALUES('series1',2,'/in/2.dcm','series1/2.dcm');
INSERT INTO "moves" VALUES('submitting1',0,'/in/scan.dcm','submitting1/scan.dcm');
INSERT INTO "moves" VALUES('uploading1',0,'/in/scan.dcm','uploading1/scan.dcm');
INSERT INTO "moves" VALUES('waiting1',0,'/in/scan.dcm','waiting1/scan.dcm');
INSERT INTO "names" VALUES('anna--1','first1');
INSERT INTO "names" VALUES('anna--2','part1');
INSERT INTO "names" VALUES('m_ller','failed1');
INSERT INTO "names" VALUES('scan','claiming1');
INSERT INTO "names" VALUES('scan.10','partial1');
INSERT INTO "names" VALUES('scan.11','duplicate1');
INSERT INTO "names" VALUES('scan.12','cancelled1');
INSERT INTO "names" VALUES('scan.13','series1');
INSERT INTO "names" VALUES('scan.14','held1');
INSERT INTO "names" VALUES('scan.15','late1');
INSERT INTO "names" VALUES('scan.16','poisoned1');
INSERT INTO "names" VALUES('scan.17','pacs1');
INSERT INTO "names" VALUES('scan.2','submitting1');
INSERT INTO "names" VALUES('scan.3','uploading1');
INSERT INTO "names" VALUES('scan.4','notifying1');
INSERT INTO "names" VALUES('scan.5','waiting1');
INSERT INTO "names" VALUES('scan.6','fetching1');
INSERT INTO "names" VALUES('scan.7','delivering1');
INSERT INTO "names" VALUES('scan.8','archiving1');
INSERT INTO "names" VALUES('scan.9','done1');
INSERT INTO "notices" VALUES(1,'fde8fa6e20b494b246d85e2a','case:failed1','case.failed',0,1,1,'2026-09-21T14:13:28.000Z','{"case_id": "failed1", "recipe": "default", "class": "input", "code": "bad_scan", "message": "The scan is bad.", "hint": "Scan again."}');
INSERT INTO "notices" VALUES(2,'e26fc9ad3e22c10b934d7be0','case:held1','case.held',0,0,1,'2026-09-21T14:13:28.000Z','{"case_id": "held1", "recipe": "default", "class": "input", "code": "series_gap", "message": "512 declared, 509 here.", "hint": "Retry it."}');
INSERT INTO "notices" VALUES(3,'f76ab4a218382c3b9cb8a53b','case:poisoned1','case.held',0,0,1,'2026-09-21T14:13:28.000Z','{"case_id": "poisoned1", "recipe": "default", "class": "unknown", "code": "poisoned", "message": "The daemon died in it.", "hint": "Look."}');
INSERT INTO "notices" VALUES(4,'04930c96f50566e42988d299','breaker:engine:breaker.opened','breaker.opened',0,0,1,'2026-09-21T14:13:28.000Z','{"breaker": "engine", "message": "No answer.", "hint": "Wait."}');
INSERT INTO "notices_told" VALUES(1,'webhook');
INSERT INTO "outputs" VALUES('archiving1',0,'meshes','["mandible"]','.stl','Available',9,NULL,'mandible.stl',9,'ab');
INSERT INTO "outputs" VALUES('delivering1',0,'meshes','["mandible"]','.stl','Available',9,NULL,'mandible.stl',9,'ab');
INSERT INTO "outputs" VALUES('done1',0,'meshes','["mandible"]','.stl','Available',9,NULL,'mandible.stl',9,'ab');
INSERT INTO "outputs" VALUES('fetching1',0,'meshes','["mandible"]','.stl','Available',9,'https://b.example/m',NULL,NULL,NULL);
INSERT INTO "outputs" VALUES('partial1',0,'meshes','["mandible"]','.stl','Available',9,NULL,'mandible.stl',9,'ab');
INSERT INTO "outputs" VALUES('partial1',1,'meshes','["maxilla", "skull"]','.stl','Failed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "outputs" VALUES('poisoned1',0,'meshes','["mandible"]','.stl','Available',9,'https://b.example/m',NULL,NULL,NULL);
INSERT INTO "paused" VALUES('pacs','2026-09-21T14:13:28.000Z');
INSERT INTO "remembered" VALUES('inbox:pacs /mnt/pacs','a.dcm',5,6,'pacs1','uid 1.2');
INSERT INTO "remembered" VALUES('inbox:pacs /mnt/pacs','b.dcm',7,8,'',NULL);
INSERT INTO "roots" VALUES('inbox:default /srv/vpe/inbox','/srv/vpe/inbox','2026-09-21T14:13:28.000Z',NULL,'');
INSERT INTO "roots" VALUES('outbox /srv/vpe/outbox','/srv/vpe/outbox','2026-09-21T14:13:28.000Z',NULL,'');
INSERT INTO "roots" VALUES('archive /srv/vpe/archive','/srv/vpe/archive','2026-09-21T14:13:28.000Z',NULL,'');
INSERT INTO "roots" VALUES('failed /srv/vpe/failed','/srv/vpe/failed','2026-09-21T14:13:28.000Z',NULL,'');
INSERT INTO "roots" VALUES('inbox:pacs /mnt/pacs','/mnt/pacs','2026-09-21T14:13:28.000Z',NULL,'');
INSERT INTO "slices" VALUES('first1',0,'0.dcm','1.2.3.0',1000,4611686018427387904,2,3,NULL,'');
INSERT INTO "slices" VALUES('first1',1,'1.dcm','1.2.3.1',1000,4611686018427387904,2,3,NULL,'');
INSERT INTO "slices" VALUES('first1',2,'2.dcm','1.2.3.2',1000,4611686018427387904,2,3,NULL,'');
INSERT INTO "slices" VALUES('held1',0,'0.dcm','1.2.2.0',1000,4611686018427387904,2,3,NULL,'');
INSERT INTO "slices" VALUES('held1',1,'1.dcm','1.2.2.1',1000,4611686018427387904,2,3,NULL,'');
INSERT INTO "slices" VALUES('held1',2,'2.dcm','1.2.2.2',1000,4611686018427387904,2,3,NULL,'');
INSERT INTO "slices" VALUES('late1',0,'0.dcm','1.2.1.0',1000,4611686018427387904,2,3,NULL,'');
INSERT INTO "slices" VALUES('late1',1,'1.dcm','1.2.1.1',1000,4611686018427387904,2,3,NULL,'');
INSERT INTO "slices" VALUES('late1',2,'2.dcm','1.2.1.2',1000,4611686018427387904,2,3,NULL,'');
INSERT INTO "slices" VALUES('part1',0,'0.dcm','1.2.4.0',1000,4611686018427387904,2,3,NULL,'');
INSERT INTO "slices" VALUES('part1',1,'1.dcm','1.2.4.1',1000,4611686018427387904,2,3,NULL,'');
INSERT INTO "slices" VALUES('part1',2,'2.dcm','1.2.4.2',1000,4611686018427387904,2,3,NULL,'');
INSERT INTO "slices" VALUES('series1',0,'0.dcm','1.2.1.0',1000,4611686018427387904,2,3,NULL,'');
INSERT INTO "slices" VALUES('series1',1,'1.dcm','1.2.1.1',1000,4611686018427387904,2,3,NULL,'');
INSERT INTO "slices" VALUES('series1',2,'2.dcm','1.2.1.2',1000,4611686018427387904,2,3,NULL,'');
INSERT INTO "snapshot" VALUES(1,'{"candidates": [{"path": "/srv/vpe/inbox/x.dcm", "state": "settling"}], "breakers": []}','2026-09-21T14:13:28.000Z');
INSERT INTO "told" VALUES('breaker:engine','2026-09-21T14:13:28.000Z');
INSERT INTO "told" VALUES('digest','2026-09-21');
INSERT INTO "words" VALUES(1,'retry','failed1',1,'2026-09-21T14:13:28.000Z');
INSERT INTO "words" VALUES(2,'take','/srv/vpe/inbox/y.dcm',0,'2026-09-21T14:13:28.000Z');
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('cases',20);
INSERT INTO "sqlite_sequence" VALUES('events',106);
INSERT INTO "sqlite_sequence" VALUES('notices',4);
INSERT INTO "sqlite_sequence" VALUES('words',2);

PRAGMA application_id = 1987077495;
PRAGMA user_version = 4;
