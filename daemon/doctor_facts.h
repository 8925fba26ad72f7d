/* Where the doctor's facts come from: a daemon's own figures, or what can be seen without one. */
#pragma once

#include <jansson.h>

#include "daemon/daemon.h"
#include "daemon/doctor.h"

/** A daemon about itself, on its loop. Texts are borrowed from it, and some from the memory behind
 * `ret_figures` (json_decref after the facts are done with). What takes a look at the disk is left
 * for doctor_facts_slow. */

void doctor_facts_inside(struct daemon *d, struct doctor_facts *ret, json_t **ret_figures);
/** Every RECENT_EVERY_MS: what is told of now is what came since. */
void doctor_facts_remember(struct daemon *d);
/** Adds disk, memory, descriptors and clock. Any thread; may take its time. */
void doctor_facts_slow(struct doctor_facts *f);
/** Without asking the daemon anything: is there one, can the folder be used, and
 * doctor_facts_slow. Whether it answers is for the caller to say: DOCTOR_HUNG is assumed when
 * somebody holds the lock. Borrows data. */
void doctor_facts_outside(const char *data, struct doctor_facts *ret);
