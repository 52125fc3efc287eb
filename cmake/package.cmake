# make deb: Debian packages libfovea0 (shared libraries), libfovea-dev (headers, static libraries, find_package, pkg-config)
# and fovea (the program), with what they depend on as dpkg-shlibdeps finds it. `make deb` configures for /usr.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME fovea)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "the fovea authors <fovea@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "sparse attention for language models")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL fovea_runtime fovea_development)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_DEBIAN_FOVEA_RUNTIME_PACKAGE_NAME libfovea${FV_ABI_VERSION})
set(CPACK_DEBIAN_FOVEA_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_FOVEA_RUNTIME_PACKAGE_SHLIBDEPS ON)
file(WRITE ${PROJECT_BINARY_DIR}/package/triggers "activate-noawait ldconfig\n") # the linker's cache, once for all
set(CPACK_DEBIAN_FOVEA_RUNTIME_PACKAGE_CONTROL_EXTRA ${PROJECT_BINARY_DIR}/package/triggers)
set(CPACK_COMPONENT_FOVEA_RUNTIME_DESCRIPTION "Shared libraries. libfovea runs language models from GGUF files and reads long
contexts by a plan of what matters. libfovea_core is its attention alone: no C
library, no heap, no threads.")
set(CPACK_DEBIAN_FOVEA_DEVELOPMENT_PACKAGE_NAME libfovea-dev)
set(CPACK_DEBIAN_FOVEA_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_FOVEA_DEVELOPMENT_PACKAGE_DEPENDS "libfovea${FV_ABI_VERSION} (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_FOVEA_DEVELOPMENT_PACKAGE_RECOMMENDS "libutf8proc-dev, libjansson-dev, pkg-config")
set(CPACK_COMPONENT_FOVEA_DEVELOPMENT_DESCRIPTION "Headers, static libraries, the CMake package fovea and the pkg-config modules
fovea and fovea-core. Programs that link the static libfovea need
libutf8proc-dev and libjansson-dev.")
if(FV_CLI)
  list(APPEND CPACK_COMPONENTS_ALL fovea_program)
  set(CPACK_DEBIAN_FOVEA_PROGRAM_PACKAGE_NAME fovea)
  set(CPACK_DEBIAN_FOVEA_PROGRAM_PACKAGE_SECTION science)
  set(CPACK_DEBIAN_FOVEA_PROGRAM_PACKAGE_SHLIBDEPS ON)
  if(FV_SERVER) # loaded by `fovea serve`, which dpkg-shlibdeps can't see
    set(CPACK_DEBIAN_FOVEA_PROGRAM_PACKAGE_DEPENDS "libmicrohttpd12 | libmicrohttpd12t64")
  endif()
  set(CPACK_COMPONENT_FOVEA_PROGRAM_DESCRIPTION "The program: runs language models from GGUF files, measures what a sparse
policy costs in quality, and how fast it is.")
endif()
include(CPack)
