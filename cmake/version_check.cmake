# The version stands in include/fovea/version.h, for builds without CMake, and in project(): they agree, or nothing is built.
file(STRINGS include/fovea/version.h fv_version_lines REGEX "^#define FV_(VERSION_MAJOR|VERSION_MINOR|VERSION_PATCH|VERSION_STRING|ABI_VERSION) ")
foreach(line ${fv_version_lines})
  if(line MATCHES "^#define (FV_[A-Z_]+) \"?([0-9.]+)\"?$")
    set(${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
  endif()
endforeach()
if(NOT FV_VERSION_STRING STREQUAL PROJECT_VERSION
   OR NOT "${FV_VERSION_MAJOR}.${FV_VERSION_MINOR}.${FV_VERSION_PATCH}" STREQUAL PROJECT_VERSION)
  message(FATAL_ERROR "fovea: include/fovea/version.h and project(fovea VERSION ${PROJECT_VERSION}) name different versions")
endif()
