-- The state file, version 1. Everything after the claim is here; nothing else is the truth.
-- Times are ISO 8601 in UTC, sizes bytes, durations seconds, `*_ns` nanoseconds since 1970.

CREATE TABLE daemon (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    daemon_id TEXT NOT NULL,
    starts INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Folders that bear our marker, by breaker name (`inbox:default`, `outbox`, `archive`, `failed`).
CREATE TABLE roots (
    name TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    marked_at TEXT NOT NULL,
    first_scan_at TEXT
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
CREATE INDEX cases_by_size ON cases (request_key, sizes_key);

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
    PRIMARY KEY (case_id, modality),
    -- all uploads end before a notification of the same input begins
    CHECK (notified = 'no' OR is_uploaded = 1)
) STRICT, WITHOUT ROWID;

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

-- Rows in every state, written by the verbs of that version.

INSERT INTO "cases" VALUES(1,'claiming1','scan','default','claiming',NULL,'scan','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,NULL,0,1,0,0,0,0,0,NULL,'[]',NULL,NULL,NULL,'{}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z',NULL,NULL,NULL,NULL,NULL,'2026-09-21T14:13:27.250Z');
INSERT INTO "cases" VALUES(2,'submitting1','scan 0','default','submitting',NULL,'scan 0','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,NULL,0,1,0,0,0,0,0,NULL,'[]',NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:13:34.500Z',NULL,NULL,NULL,NULL,'2026-09-21T14:13:34.500Z');
INSERT INTO "cases" VALUES(3,'uploading1','Anna','default','uploading',NULL,'Anna','Anna','i:99','{"outputFiles": {"meshes": []}}','["Anna/job.json"]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','4687512ab60a5dfbdc2ad771f1784c968313bf9085677063e38be15b4312e71b',NULL,'job-uploading1-1',0,1,0,0,0,0,0,'2026-09-21T14:13:41.750Z','[{"name": "report.pdf", "reason": "not a scan"}]',NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:13:41.750Z','2026-09-21T14:13:41.750Z',NULL,NULL,NULL,'2026-09-21T14:13:41.750Z');
INSERT INTO "cases" VALUES(4,'notifying1','scan 2','default','notifying',NULL,'scan 2','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-notifying1-1',0,1,0,0,0,0,0,'2026-09-21T14:13:49.000Z','[]',NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:13:49.000Z','2026-09-21T14:13:49.000Z','2026-09-21T14:13:49.000Z',NULL,NULL,'2026-09-21T14:13:49.000Z');
INSERT INTO "cases" VALUES(5,'waiting1','Anna','default','waiting',NULL,'Anna.2','Anna','i:99','{"outputFiles": {"meshes": []}}','["Anna/job.json"]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','4687512ab60a5dfbdc2ad771f1784c968313bf9085677063e38be15b4312e71b','d6af7083030346ac4232bfab78d980828f91f3064df275ada755a4449d385215','job-waiting1-1',1,1,0,0,0,0,0,'2026-09-21T14:13:56.250Z','[{"name": "report.pdf", "reason": "not a scan"}]',NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:13:56.250Z','2026-09-21T14:13:56.250Z','2026-09-21T14:13:56.250Z',NULL,NULL,'2026-09-21T14:13:56.250Z');
INSERT INTO "cases" VALUES(6,'fetching1','scan 4','default','fetching',NULL,'scan 4','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-fetching1-1',1,1,0,0,0,0,0,'2026-09-21T14:14:03.500Z','[]',NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}','{}','complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:14:03.500Z','2026-09-21T14:14:03.500Z','2026-09-21T14:14:03.500Z','2026-09-21T14:14:03.500Z',NULL,'2026-09-21T14:14:03.500Z');
INSERT INTO "cases" VALUES(7,'delivering1','Anna','default','delivering',NULL,'Anna.3','Anna','i:99','{"outputFiles": {"meshes": []}}','["Anna/job.json"]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','4687512ab60a5dfbdc2ad771f1784c968313bf9085677063e38be15b4312e71b','d6af7083030346ac4232bfab78d980828f91f3064df275ada755a4449d385215','job-delivering1-1',1,1,0,0,0,0,0,'2026-09-21T14:14:10.750Z','[{"name": "report.pdf", "reason": "not a scan"}]',NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}','{}','complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:14:10.750Z','2026-09-21T14:14:10.750Z','2026-09-21T14:14:10.750Z','2026-09-21T14:14:10.750Z',NULL,'2026-09-21T14:14:10.750Z');
INSERT INTO "cases" VALUES(8,'archiving1','scan 6','default','archiving','done','scan 6','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-archiving1-1',1,1,0,0,0,1,0,'2026-09-21T14:14:18.000Z','[]',NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}','{}','complete',NULL,'/out/scan','2026-09-21T14:12:20.000Z','2026-09-21T14:14:18.000Z','2026-09-21T14:14:18.000Z','2026-09-21T14:14:18.000Z','2026-09-21T14:14:18.000Z','2026-09-21T14:14:18.000Z','2026-09-21T14:14:18.000Z');
INSERT INTO "cases" VALUES(9,'done1','scan','teeth','done','done','scan.2','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-done1-1',1,1,0,0,0,1,0,'2026-09-21T14:14:25.250Z','[]',NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}','{}','complete',NULL,'/out/scan','2026-09-21T14:12:20.000Z','2026-09-21T14:14:25.250Z','2026-09-21T14:14:25.250Z','2026-09-21T14:14:25.250Z','2026-09-21T14:14:25.250Z','2026-09-21T14:14:25.250Z','2026-09-21T14:14:32.500Z');
INSERT INTO "cases" VALUES(10,'partial1','scan','default','partial','partial','scan.3','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-partial1-1',1,1,0,0,0,1,0,'2026-09-21T14:14:39.750Z','[]',NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}','{"success": true, "outputs": {"meshes": []}}','partial',NULL,'/out/partial','2026-09-21T14:12:20.000Z','2026-09-21T14:14:39.750Z','2026-09-21T14:14:39.750Z','2026-09-21T14:14:39.750Z','2026-09-21T14:14:39.750Z','2026-09-21T14:14:39.750Z','2026-09-21T14:14:39.750Z');
INSERT INTO "cases" VALUES(11,'duplicate1','scan','default','duplicate','duplicate','scan.4','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,NULL,0,1,0,0,0,0,0,NULL,'[]',NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}',NULL,'duplicate','done1','/out/dup','2026-09-21T14:12:20.000Z','2026-09-21T14:14:47.000Z',NULL,NULL,NULL,NULL,'2026-09-21T14:14:47.000Z');
INSERT INTO "cases" VALUES(12,'failed1','M�dcfcller','default','failed','failed','M_ller','M�dcfcller','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945',NULL,NULL,0,1,0,0,0,0,0,NULL,'[]','{"class": "input", "code": "bad_scan", "message": "The scan is bad.", "hint": "Scan again."}','{"class": "input", "code": "bad_scan", "message": "The scan is bad.", "hint": "Scan again."}',NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z',NULL,NULL,NULL,NULL,NULL,'2026-09-21T14:14:54.250Z');
INSERT INTO "cases" VALUES(13,'failed2','scan','default','failed','failed','scan.5','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-failed2-2',1,2,1,1,0,0,0,'2026-09-21T14:15:01.500Z','[]',NULL,'{"class": "engine", "code": "engine_failed", "message": "The Engine had no result.", "hint": "Ask the vendor."}',NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:15:01.500Z','2026-09-21T14:15:01.500Z','2026-09-21T14:15:01.500Z',NULL,NULL,'2026-09-21T14:15:01.500Z');
INSERT INTO "cases" VALUES(14,'submitting2','scan','default','submitting',NULL,'scan.6','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,NULL,0,1,0,0,0,0,0,NULL,'[]',NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:15:08.750Z',NULL,NULL,NULL,NULL,'2026-09-21T14:15:08.750Z');
INSERT INTO "cases" VALUES(15,'held2','scan','default','held',NULL,'scan.7','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-held2-1',1,1,0,0,0,0,1,'2026-09-21T14:15:16.000Z','[]',NULL,'{"class": "transient", "code": "overdue", "message": "Still processing.", "hint": "Retry."}',NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:15:16.000Z','2026-09-21T14:15:16.000Z','2026-09-21T14:15:16.000Z',NULL,NULL,'2026-09-21T14:15:16.000Z');
INSERT INTO "cases" VALUES(16,'held3','scan','default','held',NULL,'scan.8','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,NULL,1,1,0,0,0,0,0,'2026-09-21T14:15:23.250Z','[]',NULL,'{"class": "unknown", "code": "submit_unknown", "message": "The answer was lost.", "hint": "Look."}',NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:15:23.250Z',NULL,NULL,NULL,NULL,'2026-09-21T14:15:23.250Z');
INSERT INTO "cases" VALUES(17,'cancelled1','scan','default','cancelled','cancelled','scan.9','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,NULL,0,1,0,0,0,0,0,NULL,'[]',NULL,'{"class": "cancelled", "code": "cancelled", "message": "Cancelled.", "hint": ""}',NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:15:30.500Z',NULL,NULL,NULL,NULL,'2026-09-21T14:15:30.500Z');
INSERT INTO "cases" VALUES(18,'notifying2','scan','default','notifying',NULL,'scan.10','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8','90ed8edd6c9546a8ceb9b2127bcda8c2286b491da011521f9ad2151c2edae523','job-notifying2-1',1,1,0,0,0,0,0,'2026-09-21T14:15:37.750Z','[]',NULL,NULL,NULL,'{"failures": 0, "retry_spent_s": 0.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:15:37.750Z','2026-09-21T14:15:37.750Z','2026-09-21T14:15:37.750Z',NULL,NULL,'2026-09-21T14:15:37.750Z');
INSERT INTO "cases" VALUES(19,'uploading2','scan','default','uploading',NULL,'scan.11','','','{"outputFiles": {"meshes": []}}','[]','24.06','358f636c3edf30d561f12473e1a96ae3318160b34853768da1341652da324cf3','04c9bb26c086d330e7ba4b3e6286babd9e4eeba3a8d14a038b25c3ae1ae03ef8',NULL,'job-uploading2-1',0,1,0,0,0,0,0,'2026-09-21T14:15:45.000Z','[]',NULL,'{"class": "transient", "code": "some_trouble", "message": "Something did not work.", "hint": "Wait."}','Something did not work.','{"failures": 1, "retry_spent_s": 2.0, "refused_s": 0.0, "processing_s": 0.0, "new_jobs": 0, "fresh_polls": 0}',NULL,'complete',NULL,NULL,'2026-09-21T14:12:20.000Z','2026-09-21T14:15:45.000Z','2026-09-21T14:15:45.000Z',NULL,NULL,NULL,'2026-09-21T14:15:45.000Z');
INSERT INTO "daemon" VALUES(1,'d4e5f6a7',2);
INSERT INTO "events" VALUES(1,'claiming1','2026-09-21T14:13:27.250Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(2,'submitting1','2026-09-21T14:13:34.500Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(3,'submitting1','2026-09-21T14:13:34.500Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(4,'submitting1','2026-09-21T14:13:34.500Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(5,'uploading1','2026-09-21T14:13:41.750Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(6,'uploading1','2026-09-21T14:13:41.750Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(7,'uploading1','2026-09-21T14:13:41.750Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(8,'uploading1','2026-09-21T14:13:41.750Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(9,'notifying1','2026-09-21T14:13:49.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(10,'notifying1','2026-09-21T14:13:49.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(11,'notifying1','2026-09-21T14:13:49.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(12,'notifying1','2026-09-21T14:13:49.000Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(13,'notifying1','2026-09-21T14:13:49.000Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(14,'waiting1','2026-09-21T14:13:56.250Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(15,'waiting1','2026-09-21T14:13:56.250Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(16,'waiting1','2026-09-21T14:13:56.250Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(17,'waiting1','2026-09-21T14:13:56.250Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(18,'waiting1','2026-09-21T14:13:56.250Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(19,'waiting1','2026-09-21T14:13:56.250Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(20,'fetching1','2026-09-21T14:14:03.500Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(21,'fetching1','2026-09-21T14:14:03.500Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(22,'fetching1','2026-09-21T14:14:03.500Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(23,'fetching1','2026-09-21T14:14:03.500Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(24,'fetching1','2026-09-21T14:14:03.500Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(25,'fetching1','2026-09-21T14:14:03.500Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(26,'fetching1','2026-09-21T14:14:03.500Z','step.done','waiting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(27,'delivering1','2026-09-21T14:14:10.750Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(28,'delivering1','2026-09-21T14:14:10.750Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(29,'delivering1','2026-09-21T14:14:10.750Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(30,'delivering1','2026-09-21T14:14:10.750Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(31,'delivering1','2026-09-21T14:14:10.750Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(32,'delivering1','2026-09-21T14:14:10.750Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(33,'delivering1','2026-09-21T14:14:10.750Z','step.done','waiting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(34,'delivering1','2026-09-21T14:14:10.750Z','step.done','fetching',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(35,'archiving1','2026-09-21T14:14:18.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(36,'archiving1','2026-09-21T14:14:18.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(37,'archiving1','2026-09-21T14:14:18.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(38,'archiving1','2026-09-21T14:14:18.000Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(39,'archiving1','2026-09-21T14:14:18.000Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(40,'archiving1','2026-09-21T14:14:18.000Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(41,'archiving1','2026-09-21T14:14:18.000Z','step.done','waiting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(42,'archiving1','2026-09-21T14:14:18.000Z','step.done','fetching',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(43,'archiving1','2026-09-21T14:14:18.000Z','step.done','delivering',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(44,'done1','2026-09-21T14:14:25.250Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(45,'done1','2026-09-21T14:14:25.250Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(46,'done1','2026-09-21T14:14:25.250Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(47,'done1','2026-09-21T14:14:25.250Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(48,'done1','2026-09-21T14:14:25.250Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(49,'done1','2026-09-21T14:14:25.250Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(50,'done1','2026-09-21T14:14:25.250Z','step.done','waiting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(51,'done1','2026-09-21T14:14:25.250Z','step.done','fetching',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(52,'done1','2026-09-21T14:14:25.250Z','step.done','delivering',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(53,'done1','2026-09-21T14:14:32.500Z','step.done','archiving',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(54,'done1','2026-09-21T14:14:32.500Z','case.done',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(55,'partial1','2026-09-21T14:14:39.750Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(56,'partial1','2026-09-21T14:14:39.750Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(57,'partial1','2026-09-21T14:14:39.750Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(58,'partial1','2026-09-21T14:14:39.750Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(59,'partial1','2026-09-21T14:14:39.750Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(60,'partial1','2026-09-21T14:14:39.750Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(61,'partial1','2026-09-21T14:14:39.750Z','step.done','waiting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(62,'partial1','2026-09-21T14:14:39.750Z','step.done','fetching',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(63,'partial1','2026-09-21T14:14:39.750Z','step.done','delivering',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(64,'partial1','2026-09-21T14:14:39.750Z','step.done','archiving',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(65,'partial1','2026-09-21T14:14:39.750Z','case.partial',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(66,'duplicate1','2026-09-21T14:14:47.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(67,'duplicate1','2026-09-21T14:14:47.000Z','step.done','claiming',1,'duplicate',NULL,1.0);
INSERT INTO "events" VALUES(68,'duplicate1','2026-09-21T14:14:47.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(69,'duplicate1','2026-09-21T14:14:47.000Z','step.done','delivering',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(70,'duplicate1','2026-09-21T14:14:47.000Z','step.done','archiving',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(71,'duplicate1','2026-09-21T14:14:47.000Z','case.duplicate',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(72,'failed1','2026-09-21T14:14:54.250Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(73,'failed1','2026-09-21T14:14:54.250Z','step.done','claiming',1,'input','The scan is bad.',1.0);
INSERT INTO "events" VALUES(74,'failed1','2026-09-21T14:14:54.250Z','step.done','archiving',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(75,'failed1','2026-09-21T14:14:54.250Z','case.failed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(76,'failed2','2026-09-21T14:15:01.500Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(77,'failed2','2026-09-21T14:15:01.500Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(78,'failed2','2026-09-21T14:15:01.500Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(79,'failed2','2026-09-21T14:15:01.500Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(80,'failed2','2026-09-21T14:15:01.500Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(81,'failed2','2026-09-21T14:15:01.500Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(82,'failed2','2026-09-21T14:15:01.500Z','step.done','waiting',1,'engine','The Engine had no result.',1.0);
INSERT INTO "events" VALUES(83,'failed2','2026-09-21T14:15:01.500Z','step.done','archiving',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(84,'failed2','2026-09-21T14:15:01.500Z','case.failed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(85,'failed2','2026-09-21T14:15:01.500Z','word.done',NULL,NULL,'retry_new_job',NULL,NULL);
INSERT INTO "events" VALUES(86,'failed2','2026-09-21T14:15:01.500Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(87,'failed2','2026-09-21T14:15:01.500Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(88,'failed2','2026-09-21T14:15:01.500Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(89,'failed2','2026-09-21T14:15:01.500Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(90,'failed2','2026-09-21T14:15:01.500Z','step.done','waiting',1,'engine','The Engine had no result.',1.0);
INSERT INTO "events" VALUES(91,'failed2','2026-09-21T14:15:01.500Z','step.done','archiving',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(92,'failed2','2026-09-21T14:15:01.500Z','case.failed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(93,'submitting2','2026-09-21T14:15:08.750Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(94,'submitting2','2026-09-21T14:15:08.750Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(95,'submitting2','2026-09-21T14:15:08.750Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(96,'held2','2026-09-21T14:15:16.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(97,'held2','2026-09-21T14:15:16.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(98,'held2','2026-09-21T14:15:16.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(99,'held2','2026-09-21T14:15:16.000Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(100,'held2','2026-09-21T14:15:16.000Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(101,'held2','2026-09-21T14:15:16.000Z','step.done','notifying',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(102,'held2','2026-09-21T14:15:16.000Z','step.done','waiting',1,'overdue','Still processing.',1.0);
INSERT INTO "events" VALUES(103,'held2','2026-09-21T14:15:16.000Z','case.held',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(104,'held3','2026-09-21T14:15:23.250Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(105,'held3','2026-09-21T14:15:23.250Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(106,'held3','2026-09-21T14:15:23.250Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(107,'held3','2026-09-21T14:15:23.250Z','step.done','submitting',1,'unknown','The answer was lost.',1.0);
INSERT INTO "events" VALUES(108,'held3','2026-09-21T14:15:23.250Z','case.held',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(109,'cancelled1','2026-09-21T14:15:30.500Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(110,'cancelled1','2026-09-21T14:15:30.500Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(111,'cancelled1','2026-09-21T14:15:30.500Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(112,'cancelled1','2026-09-21T14:15:30.500Z','word.done',NULL,NULL,'cancel',NULL,NULL);
INSERT INTO "events" VALUES(113,'cancelled1','2026-09-21T14:15:30.500Z','step.done','archiving',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(114,'cancelled1','2026-09-21T14:15:30.500Z','case.cancelled',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(115,'notifying2','2026-09-21T14:15:37.750Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(116,'notifying2','2026-09-21T14:15:37.750Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(117,'notifying2','2026-09-21T14:15:37.750Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(118,'notifying2','2026-09-21T14:15:37.750Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(119,'notifying2','2026-09-21T14:15:37.750Z','step.done','uploading',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(120,'notifying2','2026-09-21T14:15:37.750Z','step.begun','notifying',1,NULL,NULL,NULL);
INSERT INTO "events" VALUES(121,'uploading2','2026-09-21T14:15:45.000Z','candidate.taken',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(122,'uploading2','2026-09-21T14:15:45.000Z','step.done','claiming',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(123,'uploading2','2026-09-21T14:15:45.000Z','case.claimed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(124,'uploading2','2026-09-21T14:15:45.000Z','step.done','submitting',1,'ok',NULL,1.0);
INSERT INTO "events" VALUES(125,'uploading2','2026-09-21T14:15:45.000Z','step.retry','uploading',1,'transient','Something did not work.',1.0);
INSERT INTO "existing" VALUES('inbox:default','M�dcfcller','n:34cd');
INSERT INTO "existing" VALUES('inbox:default','old.dcm','i:12ab');
INSERT INTO "existing" VALUES('inbox:teeth','wanted.dcm','');
INSERT INTO "inputs" VALUES('archiving1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'done');
INSERT INTO "inputs" VALUES('cancelled1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,NULL,NULL,NULL,NULL,0,'no');
INSERT INTO "inputs" VALUES('claiming1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,NULL,NULL,NULL,NULL,0,'no');
INSERT INTO "inputs" VALUES('delivering1','ios_lower','sub/lower.stl','.stl',1000,4611686018427387904,2,3,'digest of ios_lower',NULL,NULL,'https://e.example/notify',1,'done');
INSERT INTO "inputs" VALUES('delivering1','ios_upper','upper.stl','.stl',1000,4611686018427387904,2,3,'digest of ios_upper',NULL,NULL,'https://e.example/notify',1,'done');
INSERT INTO "inputs" VALUES('done1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'done');
INSERT INTO "inputs" VALUES('duplicate1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,NULL,NULL,NULL,NULL,0,'no');
INSERT INTO "inputs" VALUES('failed2','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'done');
INSERT INTO "inputs" VALUES('fetching1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'done');
INSERT INTO "inputs" VALUES('held2','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'done');
INSERT INTO "inputs" VALUES('held3','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,NULL,'https://pacs.example/a',NULL,NULL,0,'no');
INSERT INTO "inputs" VALUES('notifying1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'no');
INSERT INTO "inputs" VALUES('notifying2','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'begun');
INSERT INTO "inputs" VALUES('partial1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,'digest of cbct',NULL,NULL,'https://e.example/notify',1,'done');
INSERT INTO "inputs" VALUES('submitting1','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,NULL,NULL,NULL,NULL,0,'no');
INSERT INTO "inputs" VALUES('submitting2','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,NULL,NULL,NULL,NULL,0,'no');
INSERT INTO "inputs" VALUES('uploading1','ios_lower','sub/lower.stl','.stl',1000,4611686018427387904,2,3,NULL,NULL,'https://b.example/up','https://e.example/notify',0,'no');
INSERT INTO "inputs" VALUES('uploading1','ios_upper','upper.stl','.stl',1000,4611686018427387904,2,3,NULL,NULL,'https://b.example/up','https://e.example/notify',0,'no');
INSERT INTO "inputs" VALUES('uploading2','cbct','cbct.dcm','.dcm',1000,4611686018427387904,2,3,NULL,NULL,'https://b.example/up','https://e.example/notify',0,'no');
INSERT INTO "inputs" VALUES('waiting1','ios_lower','sub/lower.stl','.stl',1000,4611686018427387904,2,3,'digest of ios_lower',NULL,NULL,'https://e.example/notify',1,'done');
INSERT INTO "inputs" VALUES('waiting1','ios_upper','upper.stl','.stl',1000,4611686018427387904,2,3,'digest of ios_upper',NULL,NULL,'https://e.example/notify',1,'done');
INSERT INTO "jobs" VALUES('job-uploading1-1','uploading1',1,'2026-09-21T14:13:41.750Z',0);
INSERT INTO "jobs" VALUES('job-notifying1-1','notifying1',1,'2026-09-21T14:13:49.000Z',0);
INSERT INTO "jobs" VALUES('job-waiting1-1','waiting1',1,'2026-09-21T14:13:56.250Z',1);
INSERT INTO "jobs" VALUES('job-fetching1-1','fetching1',1,'2026-09-21T14:14:03.500Z',1);
INSERT INTO "jobs" VALUES('job-delivering1-1','delivering1',1,'2026-09-21T14:14:10.750Z',1);
INSERT INTO "jobs" VALUES('job-archiving1-1','archiving1',1,'2026-09-21T14:14:18.000Z',1);
INSERT INTO "jobs" VALUES('job-done1-1','done1',1,'2026-09-21T14:14:25.250Z',1);
INSERT INTO "jobs" VALUES('job-partial1-1','partial1',1,'2026-09-21T14:14:39.750Z',1);
INSERT INTO "jobs" VALUES('job-failed2-1','failed2',1,'2026-09-21T14:15:01.500Z',1);
INSERT INTO "jobs" VALUES('job-failed2-2','failed2',2,'2026-09-21T14:15:01.500Z',1);
INSERT INTO "jobs" VALUES('job-held2-1','held2',1,'2026-09-21T14:15:16.000Z',1);
INSERT INTO "jobs" VALUES('job-notifying2-1','notifying2',1,'2026-09-21T14:15:37.750Z',1);
INSERT INTO "jobs" VALUES('job-uploading2-1','uploading2',1,'2026-09-21T14:15:45.000Z',0);
INSERT INTO "moves" VALUES('archiving1',0,'/in/scan.dcm','archiving1/scan.dcm');
INSERT INTO "moves" VALUES('cancelled1',0,'/in/scan.dcm','cancelled1/scan.dcm');
INSERT INTO "moves" VALUES('claiming1',0,'/in/scan.dcm','claiming1/scan.dcm');
INSERT INTO "moves" VALUES('delivering1',0,'/srv/vpe/inbox/Anna','delivering1/Anna');
INSERT INTO "moves" VALUES('done1',0,'/in/scan.dcm','done1/scan.dcm');
INSERT INTO "moves" VALUES('duplicate1',0,'/in/scan.dcm','duplicate1/scan.dcm');
INSERT INTO "moves" VALUES('failed1',0,'/srv/vpe/inbox/M�dcfcller','failed1/M�dcfcller');
INSERT INTO "moves" VALUES('fetching1',0,'/in/scan.dcm','fetching1/scan.dcm');
INSERT INTO "moves" VALUES('held2',0,'/in/scan.dcm','held2/scan.dcm');
INSERT INTO "moves" VALUES('held3',0,'/in/scan.dcm','held3/scan.dcm');
INSERT INTO "moves" VALUES('notifying1',0,'/in/scan.dcm','notifying1/scan.dcm');
INSERT INTO "moves" VALUES('notifying2',0,'/in/scan.dcm','notifying2/scan.dcm');
INSERT INTO "moves" VALUES('partial1',0,'/in/scan.dcm','partial1/scan.dcm');
INSERT INTO "moves" VALUES('submitting1',0,'/in/scan.dcm','submitting1/scan.dcm');
INSERT INTO "moves" VALUES('submitting2',0,'/in/scan.dcm','submitting2/scan.dcm');
INSERT INTO "moves" VALUES('uploading1',0,'/srv/vpe/inbox/Anna','uploading1/Anna');
INSERT INTO "moves" VALUES('uploading2',0,'/in/scan.dcm','uploading2/scan.dcm');
INSERT INTO "moves" VALUES('waiting1',0,'/srv/vpe/inbox/Anna','waiting1/Anna');
INSERT INTO "names" VALUES('anna','uploading1');
INSERT INTO "names" VALUES('anna.2','waiting1');
INSERT INTO "names" VALUES('anna.3','delivering1');
INSERT INTO "names" VALUES('m_ller','failed1');
INSERT INTO "names" VALUES('scan','claiming1');
INSERT INTO "names" VALUES('scan 0','submitting1');
INSERT INTO "names" VALUES('scan 2','notifying1');
INSERT INTO "names" VALUES('scan 4','fetching1');
INSERT INTO "names" VALUES('scan 6','archiving1');
INSERT INTO "names" VALUES('scan.10','notifying2');
INSERT INTO "names" VALUES('scan.11','uploading2');
INSERT INTO "names" VALUES('scan.2','done1');
INSERT INTO "names" VALUES('scan.3','partial1');
INSERT INTO "names" VALUES('scan.4','duplicate1');
INSERT INTO "names" VALUES('scan.5','failed2');
INSERT INTO "names" VALUES('scan.6','submitting2');
INSERT INTO "names" VALUES('scan.7','held2');
INSERT INTO "names" VALUES('scan.8','held3');
INSERT INTO "names" VALUES('scan.9','cancelled1');
INSERT INTO "outputs" VALUES('archiving1',0,'meshes','["mandible"]','.stl','Available',9,NULL,'mandible.stl',9,'ab');
INSERT INTO "outputs" VALUES('delivering1',0,'meshes','["mandible"]','.stl','Available',9,NULL,'mandible.stl',9,'ab');
INSERT INTO "outputs" VALUES('done1',0,'meshes','["mandible"]','.stl','Available',9,NULL,'mandible.stl',9,'ab');
INSERT INTO "outputs" VALUES('fetching1',0,'meshes','["mandible"]','.stl','Available',9,'https://b.example/m',NULL,NULL,NULL);
INSERT INTO "outputs" VALUES('partial1',0,'meshes','["mandible"]','.stl','Available',9,NULL,'mandible.stl',9,'ab');
INSERT INTO "outputs" VALUES('partial1',1,'meshes','["maxilla", "skull"]','.stl','Failed',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "roots" VALUES('inbox:default','/srv/vpe/inbox','2026-09-21T14:13:20.000Z','2026-09-21T14:13:20.000Z');
INSERT INTO "roots" VALUES('outbox','/srv/vpe/outbox','2026-09-21T14:13:20.000Z',NULL);
INSERT INTO "roots" VALUES('archive','/srv/vpe/archive','2026-09-21T14:13:20.000Z',NULL);
INSERT INTO "roots" VALUES('failed','/srv/vpe/failed','2026-09-21T14:13:20.000Z',NULL);
INSERT INTO "snapshot" VALUES(1,'{"candidates": [{"path": "/srv/vpe/inbox/x.dcm", "state": "settling"}], "breakers": []}','2026-09-21T14:15:45.000Z');
INSERT INTO "words" VALUES(1,'retry','failed1',1,'2026-09-21T14:15:45.000Z');
INSERT INTO "words" VALUES(2,'cancel','waiting1',0,'2026-09-21T14:15:45.000Z');
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('cases',19);
INSERT INTO "sqlite_sequence" VALUES('events',125);
INSERT INTO "sqlite_sequence" VALUES('words',2);

PRAGMA application_id = 1987077495;
PRAGMA user_version = 1;
