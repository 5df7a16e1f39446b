/* See kills.c. */
#ifndef TANDEM_TESTS_MODEL_KILLS_H
#define TANDEM_TESTS_MODEL_KILLS_H

extern const int checkpoint_kills;

#endif
