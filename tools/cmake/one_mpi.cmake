# A program that holds two MPI libraries ends in the first call of the second one; no linker minds.

# `answer`: MPI libraries, by their runtime names, that a shared library needs and MPI_C is not; empty where there are none
# or where that cannot be told (a static library, no readelf).
function(other_mpi_of library answer)
  set(libraries ${MPI_C_LIBRARIES})
  if(NOT libraries)  # the compiler is MPI's wrapper
    foreach(name IN LISTS CMAKE_C_IMPLICIT_LINK_LIBRARIES)
      if(name MATCHES "^mpi")
        find_library(mpi_of_compiler ${name} PATHS ${CMAKE_C_IMPLICIT_LINK_DIRECTORIES} NO_DEFAULT_PATH NO_CACHE)
        list(APPEND libraries ${mpi_of_compiler})
        unset(mpi_of_compiler)
      endif()
    endforeach()
  endif()
  set(own)
  foreach(mpi IN LISTS libraries)
    names_in_dynamic_section("${mpi}" SONAME soname)
    list(APPEND own ${soname})
  endforeach()
  names_in_dynamic_section("${library}" NEEDED needed)
  list(FILTER needed INCLUDE REGEX "^lib(mpi|mpich|mpi_(cray|gnu|intel|nvidia|amd|ibm)[a-z0-9_]*)\\.so")
  if(own)
    list(REMOVE_ITEM needed ${own})
  else()
    set(needed)
  endif()
  set(${answer} "${needed}" PARENT_SCOPE)
endfunction()

# A VALIDATOR of find_library.
function(is_of_this_mpi valid library)
  other_mpi_of("${library}" other)
  if(other)
    set(${valid} FALSE PARENT_SCOPE)
  endif()
endfunction()

function(names_in_dynamic_section library tag answer)
  set(names)
  if(CMAKE_READELF AND EXISTS "${library}")
    execute_process(COMMAND ${CMAKE_READELF} -d ${library} OUTPUT_VARIABLE section ERROR_QUIET)
    string(REGEX MATCHALL "\\(${tag}\\)[^\n]*" names "${section}")  # (NEEDED)   Shared library: [libmpi.so.40]
    list(TRANSFORM names REPLACE ".*\\[([^]]*)\\].*" "\\1")
  endif()
  set(${answer} "${names}" PARENT_SCOPE)
endfunction()
