# Each library is made twice of the same objects: NAME is static, NAME_shared is not. Objects are position-independent, and
# hidden unless include/fovea declares them (FV_API): the shared library exports what is documented and nothing else.
#
# libfovea holds the core too, instead of needing libfovea_core: the hosted part may use what the core keeps private, the
# halves of two versions cannot meet, and one -l is enough. libfovea_core is for programs that want neither utf8proc nor
# threads. Loaded together, each uses its own functions (-Bsymbolic-functions); the core has no state that could differ.
include(GNUInstallDirs)
get_property(FV_SHARED GLOBAL PROPERTY TARGET_SUPPORTS_SHARED_LIBS)

function(fv_add_libraries name) # … and the object libraries that it is made of; sets NAME_libraries
  set(objects "")
  foreach(part ${ARGN})
    list(APPEND objects $<TARGET_OBJECTS:${part}>)
    target_include_directories(${part} PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
    target_compile_options(${part} PRIVATE $<$<C_COMPILER_ID:GNU>:-fno-semantic-interposition>)
    set_target_properties(${part} PROPERTIES POSITION_INDEPENDENT_CODE ON C_VISIBILITY_PRESET hidden)
  endforeach()
  string(REPLACE "fovea_core" "core" short ${name}) # fovea::core, fovea::fovea
  set(libraries ${name})
  set(chosen ${name})
  add_library(${name} STATIC ${objects})
  set_target_properties(${name} PROPERTIES EXPORT_NAME ${short}_static)
  add_library(fovea::${short}_static ALIAS ${name})
  if(FV_SHARED)
    add_library(${name}_shared SHARED ${objects})
    set_target_properties(${name}_shared PROPERTIES EXPORT_NAME ${short}_shared OUTPUT_NAME ${name}
                          VERSION ${PROJECT_VERSION} SOVERSION ${FV_ABI_VERSION})
    add_library(fovea::${short}_shared ALIAS ${name}_shared)
    fv_link_tightly(${name}_shared)
    list(APPEND libraries ${name}_shared)
    if(BUILD_SHARED_LIBS)
      set(chosen ${name}_shared)
    endif()
  endif()
  add_library(fovea::${short} ALIAS ${chosen})
  foreach(library ${libraries})
    set_target_properties(${library} PROPERTIES LINKER_LANGUAGE C)
    target_include_directories(${library} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                               $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    if(NOT FV_INSTALL AND NOT FV_TOP_LEVEL) # only what somebody links
      set_target_properties(${library} PROPERTIES EXCLUDE_FROM_ALL ON)
    endif()
  endforeach()
  set(${name}_libraries ${libraries} PARENT_SCOPE)
endfunction()

function(fv_link_tightly library) # nothing left open, nothing needed in vain; sanitizers leave their calls open
  if(NOT APPLE AND NOT WIN32)
    target_link_options(${library} PRIVATE -Wl,-Bsymbolic-functions -Wl,--as-needed)
    if(NOT FV_SANITIZE AND NOT CMAKE_C_FLAGS MATCHES "-fsanitize")
      target_link_options(${library} PRIVATE -Wl,--no-undefined)
    endif()
  endif()
endfunction()
