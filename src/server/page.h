/* page.h - the page at "/" and its files, which are in the program (cmake/embed.cmake). */
#ifndef FV_PAGE_H
#define FV_PAGE_H

#include "server_state.h"

typedef struct fv_page_file {
    const char *path, *type;
    const unsigned char *bytes;
    size_t length;
} fv_page_file;

extern const fv_page_file fv_page_files[];
extern const size_t fv_page_file_count;

/** The endpoint of all of them; NULL: the path is none of theirs. number: out, which file. */
const fv_route *fv_page_find(const char *path, uint32_t *number);

/** What a browser may do with an answer of that type; NULL: there is nothing to say. */
const char *fv_page_policy(const char *type);

#endif
