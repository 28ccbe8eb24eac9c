# Finds an MPI ScaLAPACK and defines ScaLAPACK::ScaLAPACK. The library must hold the BLACS of the MPI in use:
# a build without MPI fails the link check and is refused, as is one for another MPI.
include(${CMAKE_CURRENT_LIST_DIR}/one_mpi.cmake)
find_library(ScaLAPACK_LIBRARY VALIDATOR is_of_this_mpi
    NAMES scalapack-openmpi scalapack-mpich scalapack mkl_scalapack_lp64 sci_gnu_mpi sci_cray_mpi
    HINTS ${SCALAPACK_ROOT} ENV SCALAPACK_ROOT ENV MKLROOT PATH_SUFFIXES lib lib64 lib/intel64)
include(FindPackageHandleStandardArgs)
if(ScaLAPACK_LIBRARY)
  include(CheckCXXSourceCompiles)
  set(CMAKE_REQUIRED_LIBRARIES ${ScaLAPACK_LIBRARY} LAPACK::LAPACK BLAS::BLAS MPI::MPI_C MPI::MPI_CXX)
  check_cxx_source_compiles("
    #include <mpi.h>
    extern \"C\" { int Csys2blacs_handle(MPI_Comm); void pdsyevd_(); void pdsyevr_(); void pdgemr2d_(); }
    int main() { pdsyevd_(); pdsyevr_(); pdgemr2d_(); return Csys2blacs_handle(MPI_COMM_WORLD); }"
    ScaLAPACK_HAS_MPI)
  unset(CMAKE_REQUIRED_LIBRARIES)
  other_mpi_of("${ScaLAPACK_LIBRARY}" ScaLAPACK_OTHER_MPI)  # one that the caller gave
  if(ScaLAPACK_OTHER_MPI)
    set(ScaLAPACK_HAS_MPI FALSE)
  endif()
endif()
find_package_handle_standard_args(ScaLAPACK REQUIRED_VARS ScaLAPACK_LIBRARY ScaLAPACK_HAS_MPI
    REASON_FAILURE_MESSAGE "tangram needs a ScaLAPACK built for the MPI in use -- Debian: apt-get install libscalapack-openmpi-dev, or -mpich-dev -- on a cluster: load its ScaLAPACK module or pass -DScaLAPACK_LIBRARY=/path/libscalapack.so")
if(ScaLAPACK_FOUND AND NOT TARGET ScaLAPACK::ScaLAPACK)
  add_library(ScaLAPACK::ScaLAPACK INTERFACE IMPORTED)
  target_link_libraries(ScaLAPACK::ScaLAPACK INTERFACE ${ScaLAPACK_LIBRARY} LAPACK::LAPACK BLAS::BLAS MPI::MPI_C)
endif()
