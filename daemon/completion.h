/* Completion for shells, and the manual page, from the tables of verbs and options: what the help
 * says is what they say. */
#pragma once

#include "base/buf.h"

struct verb_help {
	const char *name, *args, *help, *more;
	uint32_t bit; /* VERB_BIT of options.h */
	bool hidden;
};

/** shell: "bash", "zsh", "fish"; false for another one. */
bool completion_write(struct buf *out, const char *shell, const struct verb_help *verbs,
		      size_t count);
/** peerscope(1) in man(7)'s format. */
void man_write(struct buf *out, const char *version, const struct verb_help *verbs, size_t count);
