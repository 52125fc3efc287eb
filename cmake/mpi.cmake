# FV_MPI: the program runs under mpirun, its layers divided over the ranks. The program itself needs no MPI: a module for
# each library that is found here speaks it, and is loaded under that library's launcher (backends/mpi/launcher.h).
set(fv_mpi_modules "")

function(fv_mpi_module name) # and what it needs: targets
  add_library(fovea_mpi_${name} MODULE backends/mpi/wire_mpi.c)
  string(REGEX REPLACE "^mpi$" "" suffix "${name}")
  if(suffix)
    set(suffix "_${suffix}")
  endif()
  set_target_properties(fovea_mpi_${name} PROPERTIES PREFIX "" OUTPUT_NAME fovea_mpi${suffix})
  target_compile_definitions(fovea_mpi_${name} PRIVATE _POSIX_C_SOURCE=200809L)
  target_link_libraries(fovea_mpi_${name} PRIVATE ${ARGN})
  set(fv_mpi_modules ${fv_mpi_modules} fovea_mpi_${name} PARENT_SCOPE)
endfunction()

if(FV_MPI)
  if(NOT FV_CLI)
    message(FATAL_ERROR "fovea: FV_MPI=ON is a part of the program, which is not built (FV_CLI)")
  endif()
  pkg_check_modules(MPICH QUIET IMPORTED_TARGET mpich)
  pkg_check_modules(OPENMPI QUIET IMPORTED_TARGET ompi-c)
  if(MPICH_FOUND)
    fv_mpi_module(mpich PkgConfig::MPICH)
  endif()
  if(OPENMPI_FOUND)
    fv_mpi_module(openmpi PkgConfig::OPENMPI)
  endif()
  if(NOT fv_mpi_modules) # another library, by its mpicc
    find_package(MPI 3.1 COMPONENTS C)
    if(NOT MPI_C_FOUND)
      message(FATAL_ERROR "fovea: FV_MPI=ON, and there is no MPI 3.1 (Debian: mpich and libmpich-dev, or openmpi-bin and "
                          "libopenmpi-dev)")
    endif()
    fv_mpi_module(mpi MPI::MPI_C)
  endif()
  file(GLOB mpi_sources CONFIGURE_DEPENDS backends/mpi/*.c)
  list(FILTER mpi_sources EXCLUDE REGEX "/wire_mpi\\.c$")
  add_library(fovea_ranks STATIC ${mpi_sources})
  target_include_directories(fovea_ranks PUBLIC backends)
  target_compile_definitions(fovea_ranks PRIVATE _POSIX_C_SOURCE=200809L _DEFAULT_SOURCE
                             FV_MPI_FOLDER="${CMAKE_INSTALL_FULL_LIBDIR}/fovea")
  target_link_libraries(fovea_ranks PUBLIC fovea$<$<BOOL:${FV_CLI_SHARED}>:_shared>
                        PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
  add_dependencies(fovea_ranks ${fv_mpi_modules})
  if(FV_INSTALL)
    install(TARGETS ${fv_mpi_modules} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/fovea COMPONENT fovea_program)
  endif()
endif()
