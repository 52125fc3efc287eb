/* cors.h - pages of which other origins a browser lets talk to the server. */
#ifndef FV_CORS_H
#define FV_CORS_H

/** What Access-Control-Allow-Origin says to `origin` (may be NULL); NULL: nothing, it is not among `origins`, which are
 *  "*" or a list with commas; NULL: none are. */
const char *fv_cors_answer(const char *origins, const char *origin);

#endif
