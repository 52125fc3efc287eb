/* pages.h - large blocks of memory straight from the system. Hosted. */
#ifndef FV_PAGES_H
#define FV_PAGES_H

#include <stddef.h>

/** A zeroed block of at least `bytes`, aligned to a memory page, backed by huge pages where the system gives them;
 *  it takes real memory only where it is touched. NULL if there is none (or bytes == 0). */
void *fv_pages_map(size_t bytes);

/** The same in small pages, so that a page takes real memory only where a few kilobytes of it are touched. */
void *fv_pages_reserve(size_t bytes);

/** Makes huge those pages within `memory` of which at least half lies in the first `used` of its `bytes`. What it holds
 *  stays; a system that cannot do it leaves all as it is. */
void fv_pages_huge(void *memory, size_t used, size_t bytes);

/** Gives the whole memory pages within it back to the system; what they hold is lost, but it stays reserved. */
void fv_pages_forget(void *memory, size_t bytes);

void fv_pages_unmap(void *memory, size_t bytes); /* NULL is allowed; bytes as mapped */

#endif
