/* state/internal.h - what the fuzz target needs of state.c */
#ifndef MANYTAILS_STATE_INTERNAL_H
#define MANYTAILS_STATE_INTERNAL_H

#include "state/state.h"

/* The text of a state file. False: this is not our file, or not whole. */
bool state_keys_parse(struct span text, const char *control_url, struct state_keys *out);

#endif
