# cmake --install: headers, libraries, the program, a pkg-config file for each library, and the package for find_package().
# Components: fovea_runtime (shared libraries), fovea_development, fovea_program.
include(CMakePackageConfigHelpers)
set(fv_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/fovea)

# Headers of the hosted part are those that fovea.h includes beside core.h.
file(STRINGS include/fovea/fovea.h fv_hosted_headers REGEX "^#include \"fovea/")
list(TRANSFORM fv_hosted_headers REPLACE "#include \"fovea/(.*)\"" "\\1")
list(REMOVE_ITEM fv_hosted_headers core.h)
list(APPEND fv_hosted_headers fovea.h)
file(GLOB_RECURSE fv_headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/include/fovea include/fovea/*.h)
if(NOT FV_HOSTED)
  list(REMOVE_ITEM fv_headers ${fv_hosted_headers})
endif()
foreach(header ${fv_headers})
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES include/fovea/${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/fovea/${folder}
          COMPONENT fovea_development)
endforeach()

foreach(library ${fovea_core_libraries} ${fovea_libraries})
  install(TARGETS ${library} EXPORT ${library}
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT fovea_runtime NAMELINK_COMPONENT fovea_development
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT fovea_development
          RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT fovea_runtime)
  install(EXPORT ${library} FILE ${library}.cmake NAMESPACE fovea:: DESTINATION ${fv_package_dir}
          COMPONENT fovea_development)
endforeach()
if(FV_CLI)
  install(TARGETS fovea_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT fovea_program)
  install(FILES cli/completion.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME fovea
          COMPONENT fovea_program)
  if(FV_SERVER) # where systemd looks, below any of its prefixes; the unit finds the program by its search path
    install(FILES service/fovea.service service/fovea.socket DESTINATION lib/systemd/system COMPONENT fovea_program)
  endif()
  # The program itself says what is in its man pages: they are made where it runs.
  if(NOT CMAKE_CROSSCOMPILING)
    add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/man/fovea.1
                       COMMAND ${CMAKE_COMMAND} -DFOVEA=$<TARGET_FILE:fovea_cli> -DOUT=${PROJECT_BINARY_DIR}/man
                               -P ${PROJECT_SOURCE_DIR}/cmake/man_page.cmake
                       DEPENDS fovea_cli cmake/man_page.cmake VERBATIM)
    add_custom_target(fovea_man ALL DEPENDS ${PROJECT_BINARY_DIR}/man/fovea.1)
    install(DIRECTORY ${PROJECT_BINARY_DIR}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT fovea_program
            OPTIONAL FILES_MATCHING PATTERN "*.1")
  endif()
endif()

configure_package_config_file(cmake/fovea_config.cmake.in ${PROJECT_BINARY_DIR}/package/foveaConfig.cmake
                              INSTALL_DESTINATION ${fv_package_dir} NO_SET_AND_CHECK_MACRO)
# While the major version is 0, a new minor version may change calls.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/foveaConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/package/foveaConfig.cmake ${PROJECT_BINARY_DIR}/package/foveaConfigVersion.cmake
        DESTINATION ${fv_package_dir} COMPONENT fovea_development)

# pkg-config: a prefix that moves is found from where the .pc file lies.
set(fv_pc_prefix ${CMAKE_INSTALL_PREFIX})
set(fv_pc_libdir ${CMAKE_INSTALL_FULL_LIBDIR})
set(fv_pc_includedir ${CMAKE_INSTALL_FULL_INCLUDEDIR})
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" AND NOT IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  file(RELATIVE_PATH fv_pc_up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  string(REGEX REPLACE "/$" "" fv_pc_up "${fv_pc_up}")
  set(fv_pc_prefix "\${pcfiledir}/${fv_pc_up}")
  set(fv_pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
  set(fv_pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
function(fv_pkg_config name library description private)
  configure_file(cmake/fovea.pc.in ${PROJECT_BINARY_DIR}/package/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/package/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
          COMPONENT fovea_development)
endfunction()
fv_pkg_config(fovea-core fovea_core "attention over memory of the caller's: no C library, no heap, no threads" "")
if(FV_HOSTED)
  # Not Requires.private: who links the shared library needs no development files of what is in it.
  set(fv_pc_private "-lutf8proc")
  if(FV_JANSSON)
    string(APPEND fv_pc_private " -ljansson")
  endif()
  fv_pkg_config(fovea fovea "sparse attention for language models: models from GGUF files, sessions, and the core"
                "${fv_pc_private} -pthread -lm")
endif()

# What Debian wants to find beside every package.
foreach(pair libfovea${FV_ABI_VERSION}:fovea_runtime libfovea-dev:fovea_development fovea:fovea_program)
  string(REPLACE ":" ";" pair ${pair})
  list(GET pair 0 package)
  list(GET pair 1 component)
  install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package} RENAME copyright COMPONENT ${component})
endforeach()
