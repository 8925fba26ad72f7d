#include "daemon/exit.h"

#include "base/base.h"
#include "base/err.h"

/* ENOENT is not among them: a missing folder of the user's is not a missing object. */
static const struct {
	int status, code;
} codes[] = {
	{ 0, EXIT_DONE },
	{ ERR_NOT_FOUND, EXIT_NOT_FOUND },
	{ ERR_MISSING, EXIT_NOT_FOUND },
	{ UV_ETIMEDOUT, EXIT_TIMEOUT },
	{ ERR_BUSY, EXIT_BUSY },
	{ ERR_CONFLICT, EXIT_CONFLICT },
	{ ERR_DISK_FULL, EXIT_DISK_FULL },
	{ UV_ENOSPC, EXIT_DISK_FULL },
	{ -EDQUOT, EXIT_DISK_FULL },
	{ ERR_READ_ONLY, EXIT_DENIED },
	{ ERR_UNAUTHORIZED, EXIT_DENIED },
	{ UV_EROFS, EXIT_DENIED },
	{ UV_EACCES, EXIT_DENIED },
	{ UV_EPERM, EXIT_DENIED },
	{ UV_ECONNREFUSED, EXIT_PEER },
	{ UV_ECONNRESET, EXIT_PEER },
	{ UV_EHOSTUNREACH, EXIT_PEER },
	{ UV_ENETUNREACH, EXIT_PEER },
	{ UV_EPIPE, EXIT_PEER },
	{ ERR_CLOSED, EXIT_PEER },
	{ ERR_PEER_MISMATCH, EXIT_PEER },
	{ ERR_SELF, EXIT_PEER },
	{ ERR_VERIFY, EXIT_DAMAGED },
	{ ERR_CORRUPT, EXIT_DAMAGED },
	{ ERR_LOCKED, EXIT_UNREACHABLE },
	{ UV_ECANCELED, EXIT_CANCELLED },
};

int exit_of(int status)
{
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].status == status)
			return codes[i].code;
	return EXIT_FAILED;
}

const char *exit_text(int code)
{
	switch (code) {
	case EXIT_DONE: return "done";
	case EXIT_FAILED: return "failed; the message says why";
	case EXIT_USAGE: return "wrong arguments, environment or configuration file";
	case EXIT_UNREACHABLE:
		return "no daemon answers (for `daemon`: another one holds the data folder)";
	case EXIT_PARTIAL: return "done in part: something was skipped, or not confirmed by peers";
	case EXIT_NOT_FOUND: return "not found, deleted, or not all here";
	case EXIT_TIMEOUT: return "time ran out";
	case EXIT_BUSY: return "busy, try again later";
	case EXIT_CONFLICT:
		return "versions in conflict: several heads (choose one with ?v=), or a publish "
		       "that has "
		       "not seen what is there";
	case EXIT_DISK_FULL: return "the disk is full";
	case EXIT_DENIED: return "read-only folder or missing permission";
	case EXIT_PEER: return "no peer can be reached, or heard to the end";
	case EXIT_DAMAGED: return "bytes do not match their hash or their format";
	case EXIT_CANCELLED: return "cancelled";
	default: return NULL;
	}
}
