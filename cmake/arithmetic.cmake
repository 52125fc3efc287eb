# Refuses flags under which "the same bits" and "NaN is noticed" are not true. src/build.h refuses them again, for builds
# that do not come through here.
include(CheckCSourceCompiles)
get_directory_property(fv_inherited_options COMPILE_OPTIONS)
set(CMAKE_REQUIRED_FLAGS "${fv_inherited_options}")
string(REPLACE ";" " " CMAKE_REQUIRED_FLAGS "${CMAKE_REQUIRED_FLAGS}")
string(MD5 fv_flags_key "${CMAKE_C_FLAGS} ${CMAKE_C_FLAGS_${CMAKE_BUILD_TYPE}} ${CMAKE_REQUIRED_FLAGS}")
set(CMAKE_REQUIRED_QUIET ON)
check_c_source_compiles("
#if defined __FAST_MATH__ || (defined __FINITE_MATH_ONLY__ && __FINITE_MATH_ONLY__)
#error finite
#endif
#if defined __ASSOCIATIVE_MATH__ || defined __RECIPROCAL_MATH__
#error finite
#endif
int main(void) { return 0; }" FV_ARITHMETIC_${fv_flags_key})
unset(CMAKE_REQUIRED_QUIET)
unset(CMAKE_REQUIRED_FLAGS)
if(NOT FV_ARITHMETIC_${fv_flags_key})
  message(FATAL_ERROR "fovea: -ffast-math and what it is made of (-ffinite-math-only, -fassociative-math) make results depend on the compiler's mood and hide NaN. "
                      "Take them out of CMAKE_C_FLAGS (or give the rest of your program a directory of its own).")
endif()
