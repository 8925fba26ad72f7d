/* Every query of the running store. CROSS JOIN fixes the order of the join: left to itself, the
 * planner at times scans link. */
#pragma once

/* Objects of a scope; alias o. ?1 space, ?2 path, ?3 upper end of the range, ?4 path + '/', ?5 for
 * children: where the last segment starts, in characters; else 0. db_scope_args() makes them. */
#define SQL_SCOPE                                                                                  \
	"o.space = ?1 AND o.path >= ?2 AND o.path < ?3 AND (o.path = ?2 OR o.path >= ?4)"          \
	" AND (?5 = 0 OR o.path = ?2 OR instr(substr(o.path, ?5), '/') = 0)"

/* What is not complete below the nodes in the temporary table start; pending < 0 = absent. Bounded,
 * since a peer may have made us want millions: counts beyond it are "at least". */
#define SQL_WALK                                                                                   \
	"WITH RECURSIVE walk(id, pending, history) AS ("                                           \
	" SELECT s.id, b.pending, s.history FROM start s CROSS JOIN blob b ON b.id = s.id"         \
	" UNION SELECT l.target, b.pending, w.history FROM walk w"                                 \
	" CROSS JOIN link l ON l.source = w.id CROSS JOIN blob b ON b.id = l.target"               \
	" WHERE w.pending > 0 AND b.pending <> 0 LIMIT 1000000) "

#define SQL_MAP(X)                                                                                 \
	X(SQL_BEGIN, "BEGIN IMMEDIATE")                                                            \
	X(SQL_COMMIT, "COMMIT")                                                                    \
	X(SQL_ROLLBACK, "ROLLBACK")                                                                \
	X(SQL_SAVEPOINT, "SAVEPOINT one")                                                          \
	X(SQL_RELEASE, "RELEASE one")                                                              \
	X(SQL_ROLLBACK_TO, "ROLLBACK TO one")                                                      \
	X(SQL_TOTALS, "SELECT id, value FROM total")                                               \
	X(SQL_TOTAL_SET, "INSERT OR REPLACE INTO total (id, value) VALUES (?1, ?2)")               \
	/* nodes */                                                                                \
	X(SQL_NODE_FIND, "SELECT id, state, pending FROM blob WHERE hash = ?1 AND kind = ?2")      \
	X(SQL_NODE_GET, "SELECT state, pending, kind, hash, size FROM blob WHERE id = ?1")         \
	X(SQL_NODE_INSERT, "INSERT INTO blob (hash, kind, size, state, pending)"                   \
			   " VALUES (?1, ?2, ?3, 0, -1)")                                          \
	X(SQL_NODE_INSERT_PUBLIC, "INSERT INTO blob (hash, kind, size, state, pending)"            \
				  " VALUES (?1, ?2, ?3, 5, ?4)")                                   \
	X(SQL_NODE_INSERT_WANTED, "INSERT INTO blob (hash, kind, size, state, pending)"            \
				  " VALUES (?1, ?2, 0, 2, -1)")                                    \
	X(SQL_NODE_WANTED, "UPDATE blob SET state = state | 2 WHERE id = ?1")                      \
	X(SQL_NODE_STORED, "UPDATE blob SET state = state | 1, size = ?2 WHERE id = ?1")           \
	X(SQL_NODE_PUBLIC, "UPDATE blob SET state = 5, pending = ?2 WHERE id = ?1")                \
	X(SQL_NODE_TWINS, "SELECT id, state, kind, pending FROM blob"                              \
			  " WHERE hash = ?1 ORDER BY kind")                                        \
	X(SQL_NODE_PENDING, "SELECT count(*) FROM link l CROSS JOIN blob b ON b.id = l.target"     \
			    " WHERE l.source = ?1 AND b.pending <> 0")                             \
	X(SQL_NODE_WANT_TARGETS,                                                                   \
	  "UPDATE blob SET state = state | 2 WHERE state & 6 = 0"                                  \
	  " AND id IN (SELECT target FROM link WHERE source = ?1) RETURNING id")                   \
	X(SQL_NODE_TWIN_TARGETS,                                                                   \
	  "SELECT b.id, t.id FROM link l CROSS JOIN blob b ON b.id = l.target"                     \
	  " CROSS JOIN blob t ON t.hash = b.hash AND t.kind <> b.kind"                             \
	  " WHERE l.source = ?1 AND b.state = 2 AND t.state = 5")                                  \
	X(SQL_NODE_SOURCES_DONE, "UPDATE blob SET pending = pending - 1 WHERE pending > 0"         \
				 " AND id IN (SELECT source FROM link WHERE target = ?1)"          \
				 " RETURNING id, pending, kind")                                   \
	X(SQL_NODE_UNDER_HEAD, "WITH RECURSIVE up(id) AS (SELECT ?1 UNION SELECT l.source FROM up" \
			       " CROSS JOIN link l ON l.target = up.id LIMIT ?2)"                  \
			       " SELECT max(coalesce(c.head, 0)), count(*) FROM up"                \
			       " LEFT JOIN commits c ON c.id = up.id")                             \
	X(SQL_CONTENT_INSERT, "INSERT INTO content (id, bytes) VALUES (?1, ?2)")                   \
	X(SQL_CONTENT_GET, "SELECT bytes FROM content WHERE id = ?1")                              \
	X(SQL_LINK_INSERT, "INSERT OR IGNORE INTO link (source, target) VALUES (?1, ?2)")          \
	X(SQL_LINK_TARGETS, "SELECT b.id, b.state, b.pending FROM link l"                          \
			    " CROSS JOIN blob b ON b.id = l.target WHERE l.source = ?1")           \
	/* commits */                                                                              \
	X(SQL_OBJECT_FIND, "SELECT id, commits, heads, open_heads, newest_s FROM object"           \
			   " WHERE space = ?1 AND path = ?2")                                      \
	X(SQL_OBJECT_INSERT,                                                                       \
	  "INSERT INTO object (space, path, commits, heads, open_heads, newest_s)"                 \
	  " VALUES (?1, ?2, 0, 0, 0, 0)")                                                          \
	X(SQL_OBJECT_UPDATE, "UPDATE object SET commits = ?2, heads = ?3, open_heads = ?4,"        \
			     " newest_s = ?5 WHERE id = ?1")                                       \
	X(SQL_OBJECT_HEAD_COMPLETE, "UPDATE object SET open_heads = open_heads - 1 WHERE id = ?1") \
	X(SQL_COMMIT_FIND,                                                                         \
	  "SELECT c.id, c.object, c.time_s, c.head, c.complete FROM blob b"                        \
	  " CROSS JOIN commits c ON c.id = b.id WHERE b.hash = ?1 AND b.kind = 1")                 \
	X(SQL_COMMIT_INSERT,                                                                       \
	  "INSERT INTO commits (id, object, time_s, hash, author, root, root_kind,"                \
	  " head, complete, content_bytes, content_blobs)"                                         \
	  " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, 0, ?8, ?9)")                                    \
	X(SQL_COMMIT_IS_HEAD, "SELECT head FROM commits WHERE id = ?1")                            \
	X(SQL_COMMIT_UNHEAD, "UPDATE commits SET head = 0 WHERE id = ?1")                          \
	X(SQL_COMMIT_COMPLETE,                                                                     \
	  "UPDATE commits SET complete = 1 WHERE id = ?1 RETURNING object, head")                  \
	X(SQL_PARENT_INSERT, "INSERT INTO parent (child, parent) VALUES (?1, ?2)")                 \
	X(SQL_PARENT_COUNT, "SELECT count(*) FROM parent WHERE child = ?1")                        \
	X(SQL_PARENTS, "SELECT c.hash FROM parent p CROSS JOIN commits c ON c.id = p.parent"       \
		       " WHERE p.child = ?1 ORDER BY c.hash LIMIT ?2")                             \
	X(SQL_AUTHORITY_INSERT, "INSERT OR IGNORE INTO authority (commit_id, peer, addrs)"         \
				" VALUES (?1, ?2, ?3)")                                            \
	X(SQL_HEADS,                                                                               \
	  "SELECT id, hash, complete, time_s, root, root_kind FROM commits"                        \
	  " INDEXED BY commits_head WHERE object = ?1 AND head = 1 ORDER BY hash LIMIT ?2")        \
	/* which version a folder has seen */                                                      \
	X(SQL_ORIGIN_SEEN, "SELECT 1 FROM origin WHERE object = ?1 AND folder = ?2 AND seen = ?3") \
	X(SQL_ORIGIN_OTHER,                                                                        \
	  "SELECT folder FROM origin WHERE object = ?1 AND folder NOT IN (?2, '')"                 \
	  " AND published = 1 ORDER BY time_s DESC LIMIT 1")                                       \
	X(SQL_ORIGIN_PUBLISHED, "SELECT 1 FROM origin WHERE object = ?1 AND seen = ?2"             \
				" AND published = 1 LIMIT 1")                                      \
	X(SQL_ORIGIN_SET, "INSERT INTO origin (object, folder, seen, published, time_s)"           \
			  " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (object, folder) DO UPDATE"    \
			  " SET seen = ?3, published = max(published, ?4), time_s = ?5")           \
	X(SQL_ORIGIN_TRIM,                                                                         \
	  "DELETE FROM origin WHERE object = ?1 AND folder NOT IN"                                 \
	  " (SELECT folder FROM origin WHERE object = ?1 ORDER BY time_s DESC, folder LIMIT ?2)")  \
	/* stash, refused */                                                                       \
	X(SQL_STASH_FIND, "SELECT id FROM stash WHERE hash = ?1")                                  \
	X(SQL_STASH_INSERT,                                                                        \
	  "INSERT INTO stash (hash, bytes, size, peer, time_s, space, path, needs)"                \
	  " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")                                              \
	X(SQL_STASH_DELETE, "DELETE FROM stash WHERE id = ?1 RETURNING size")                      \
	X(SQL_STASH_NEEDS,                                                                         \
	  "SELECT n.hash, n.kind FROM stash s CROSS JOIN stash_need n ON n.stash = s.id"           \
	  " WHERE s.hash = ?1"                                                                     \
	  " AND NOT EXISTS (SELECT 1 FROM stash t WHERE n.kind = 1 AND t.hash = n.hash)")          \
	X(SQL_STASH_NEED_INSERT, "INSERT INTO stash_need (hash, kind, stash) VALUES (?1, ?2, ?3)") \
	X(SQL_STASH_NEEDED, "SELECT 1 FROM stash_need WHERE hash = ?1 AND kind = ?2 LIMIT 1")      \
	X(SQL_STASH_ARRIVED, "UPDATE stash SET needs = needs - 1 WHERE id IN"                      \
			     " (SELECT stash FROM stash_need WHERE hash = ?1 AND kind = ?2)")      \
	X(SQL_STASH_NEED_DELETE, "DELETE FROM stash_need WHERE hash = ?1 AND kind = ?2")           \
	X(SQL_STASH_NEEDS_DELETE, "DELETE FROM stash_need WHERE stash = ?1")                       \
	X(SQL_STASH_READY, "SELECT id, hash, bytes FROM stash INDEXED BY stash_ready"              \
			   " WHERE needs = 0 ORDER BY id LIMIT 1")                                 \
	X(SQL_STASH_DEPENDENT,                                                                     \
	  "SELECT s.id, s.hash FROM stash_need n CROSS JOIN stash s ON s.id = n.stash"             \
	  " WHERE n.hash = ?1 AND n.kind = ?2 LIMIT 1")                                            \
	X(SQL_STASH_EXPIRED, "SELECT id FROM stash WHERE time_s < ?1 OR time_s > ?2 LIMIT 1")      \
	X(SQL_STASH_PEER_COUNT, "SELECT count(*) FROM stash WHERE peer = ?1")                      \
	X(SQL_STASH_WANTS,                                                                         \
	  "SELECT DISTINCT n.hash, n.kind FROM stash o CROSS JOIN stash_need n"                    \
	  " ON n.stash = o.id WHERE " SQL_SCOPE                                                    \
	  " AND NOT EXISTS (SELECT 1 FROM stash t WHERE n.kind = 1 AND t.hash = n.hash)"           \
	  " ORDER BY n.kind, n.hash")                                                              \
	X(SQL_REFUSED_FIND, "SELECT status FROM refused WHERE hash = ?1 AND kind = ?2")            \
	X(SQL_REFUSED_ANY, "SELECT 1 FROM refused WHERE hash = ?1 LIMIT 1")                        \
	X(SQL_REFUSED_INSERT, "INSERT INTO refused (hash, kind, status, time_s)"                   \
			      " VALUES (?1, ?2, ?3, ?4)")                                          \
	X(SQL_REFUSED_EXPIRE, "DELETE FROM refused WHERE time_s < ?1 OR time_s > ?2")              \
	X(SQL_REFUSED_DROP_OLDEST, "DELETE FROM refused WHERE (hash, kind) IN"                     \
				   " (SELECT hash, kind FROM refused ORDER BY time_s LIMIT 1)")    \
	/* scopes */                                                                               \
	X(SQL_SCOPE_SUM,                                                                           \
	  "SELECT count(*), coalesce(sum(o.commits), 0), coalesce(sum(o.open_heads), 0)"           \
	  " FROM object o WHERE " SQL_SCOPE)                                                       \
	X(SQL_ITEMS, "SELECT c.time_s, c.hash FROM object o CROSS JOIN commits c"                  \
		     " INDEXED BY commits_item ON c.object = o.id WHERE " SQL_SCOPE                \
		     " ORDER BY o.id, c.time_s, c.hash")                                           \
	X(SQL_ITEMS_EXACT, "SELECT c.time_s, c.hash FROM commits c INDEXED BY commits_item"        \
			   " WHERE c.object = ?1 ORDER BY c.time_s, c.hash")                       \
	X(SQL_START_CLEAR, "DELETE FROM start")                                                    \
	X(SQL_START_ADD, "INSERT OR IGNORE INTO start (id, history) VALUES (?1, 0)")               \
	X(SQL_START_OBJECT,                                                                        \
	  "INSERT OR IGNORE INTO start (id, history) SELECT c.id, 0 FROM commits c"                \
	  " INDEXED BY commits_open WHERE c.object = ?1 AND c.head = 1 AND c.complete = 0")        \
	X(SQL_START_HEADS,                                                                         \
	  "INSERT OR IGNORE INTO start (id, history) SELECT c.id, 0 FROM object o"                 \
	  " CROSS JOIN commits c INDEXED BY commits_open"                                          \
	  " ON c.object = o.id AND c.head = 1 AND c.complete = 0"                                  \
	  " WHERE o.open_heads > 0 AND o.id <> ?6 AND " SQL_SCOPE)                                 \
	X(SQL_START_HISTORY,                                                                       \
	  "INSERT OR IGNORE INTO start (id, history) SELECT c.id, 1 FROM object o"                 \
	  " CROSS JOIN commits c INDEXED BY commits_open"                                          \
	  " ON c.object = o.id AND c.head = 0 AND c.complete = 0 WHERE " SQL_SCOPE)                \
	X(SQL_MISSING, SQL_WALK "SELECT count(*) FROM walk WHERE pending < 0")                     \
	X(SQL_WANTS, SQL_WALK "SELECT b.hash, b.kind, b.size, CASE WHEN min(w.history) = 1 THEN 4" \
			      " WHEN b.kind IN (1, 2) THEN 0 WHEN b.kind IN (3, 4) THEN 1"         \
			      " WHEN b.size <= ?1 THEN 2 ELSE 3 END AS priority"                   \
			      " FROM walk w CROSS JOIN blob b ON b.id = w.id WHERE w.pending < 0"  \
			      " AND NOT EXISTS (SELECT 1 FROM refused r"                           \
			      " WHERE r.hash = b.hash AND r.kind = b.kind)"                        \
			      " GROUP BY w.id HAVING priority <= ?2 ORDER BY priority, w.id")      \
	X(SQL_OBJECTS,                                                                             \
	  "SELECT o.id, o.space, o.path, o.newest_s, o.commits, o.heads, o.open_heads"             \
	  " FROM object o WHERE " SQL_SCOPE " ORDER BY o.newest_s DESC, o.id LIMIT ?6")            \
	X(SQL_OBJECTS_ALL,                                                                         \
	  "SELECT o.id, o.space, o.path, o.newest_s, o.commits, o.heads, o.open_heads"             \
	  " FROM object o ORDER BY o.newest_s DESC, o.id LIMIT ?1")                                \
	X(SQL_LOG,                                                                                 \
	  "SELECT id, hash, time_s, author, root, root_kind, head, complete, content_bytes,"       \
	  " content_blobs FROM commits WHERE object = ?1"                                          \
	  " ORDER BY time_s DESC, hash DESC LIMIT ?2")                                             \
	/* peers */                                                                                \
	X(SQL_PEER_FIND, "SELECT id, key, addrs, by_user, last_ok_s, last_fail_s, failures, 0"     \
			 " FROM peer WHERE key = ?1")                                              \
	X(SQL_PEER_INSERT,                                                                         \
	  "INSERT INTO peer (key, addrs, by_user, seen_s, last_ok_s, last_fail_s,"                 \
	  " failures) VALUES (?1, '', 0, 0, 0, 0, 0)")                                             \
	X(SQL_PEER_UPDATE,                                                                         \
	  "UPDATE peer SET addrs = ?2, by_user = ?3, seen_s = ?4, last_ok_s = ?5,"                 \
	  " last_fail_s = ?6, failures = ?7 WHERE id = ?1")                                        \
	X(SQL_PEER_DELETE, "DELETE FROM peer WHERE id = ?1")                                       \
	X(SQL_PEER_OLDEST,                                                                         \
	  "SELECT id FROM peer WHERE by_user = 0 ORDER BY last_ok_s, seen_s LIMIT 1")              \
	X(SQL_PEER_LIST,                                                                           \
	  "SELECT p.id, p.key, p.addrs, p.by_user, p.last_ok_s, p.last_fail_s, p.failures,"        \
	  " s.peer IS NOT NULL AS served FROM peer p"                                              \
	  " LEFT JOIN peer_space s ON s.space = ?1 AND s.peer = p.id"                              \
	  " ORDER BY served DESC, p.last_ok_s DESC, p.by_user DESC, p.id LIMIT ?2")                \
	X(SQL_PEER_SPACE_SET, "INSERT OR REPLACE INTO peer_space (space, peer, time_s)"            \
			      " VALUES (?1, ?2, ?3)")                                              \
	X(SQL_PEER_SPACE_TRIM,                                                                     \
	  "DELETE FROM peer_space WHERE space = ?1 AND peer IN (SELECT peer"                       \
	  " FROM peer_space WHERE space = ?1 ORDER BY time_s DESC LIMIT -1 OFFSET ?2)")            \
	X(SQL_PEER_SPACE_DELETE, "DELETE FROM peer_space WHERE peer = ?1")                         \
	X(SQL_AUTHORITIES, "SELECT a.peer, a.addrs FROM object o CROSS JOIN commits c"             \
			   " INDEXED BY commits_head ON c.object = o.id AND c.head = 1"            \
			   " CROSS JOIN authority a ON a.commit_id = c.id"                         \
			   " WHERE o.space = ?1 AND o.path = '' ORDER BY c.time_s DESC LIMIT ?2")  \
	/* subscriptions */                                                                        \
	X(SQL_SUBSCRIPTIONS,                                                                       \
	  "SELECT space, path, kind, added_s, last_ok_s, history FROM subscription"                \
	  " ORDER BY space, path, kind")                                                           \
	X(SQL_SUBSCRIPTION_INSERT,                                                                 \
	  "INSERT OR IGNORE INTO subscription"                                                     \
	  " (space, path, kind, added_s, last_ok_s, history) VALUES (?1, ?2, ?3, ?4, 0, ?5)")      \
	X(SQL_SUBSCRIPTION_HISTORY,                                                                \
	  "UPDATE subscription SET history = 1"                                                    \
	  " WHERE space = ?1 AND path = ?2 AND kind = ?3 AND history = 0")                         \
	X(SQL_SUBSCRIPTION_DELETE,                                                                 \
	  "DELETE FROM subscription WHERE space = ?1 AND path = ?2 AND kind = ?3")                 \
	X(SQL_SUBSCRIPTION_OK, "UPDATE subscription SET last_ok_s = ?4"                            \
			       " WHERE space = ?1 AND path = ?2 AND kind = ?3")

#define X(name, text) name,
enum db_sql { SQL_MAP(X) SQL_COUNT };
#undef X
