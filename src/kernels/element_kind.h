/* element_kind.h - the element types of a cache as kernels that are made for each of them name them. */
#ifndef FV_ELEMENT_KIND_H
#define FV_ELEMENT_KIND_H

typedef enum element { ELEMENT_F32, ELEMENT_F16, ELEMENT_BF16, ELEMENT_Q8, ELEMENT_Q4 } element;

#endif
