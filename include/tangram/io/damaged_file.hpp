#pragma once
#include "tangram/io/hdf5_handle.hpp"

namespace tangram {

/// From here on a signal that libhdf5 raises (1.10 follows what a damaged file says into memory that is not
/// there) ends the process with the status of the file that was noted last and one line that names it; with
/// status study where the process may have no more memory. Local; for the program, after MPI_Init, which sets
/// handlers of its own.
void name_damaged_files();

/// Notes the file that libhdf5 works on from here on. Local.
void note_hdf5_file(const Hdf5Place& place);

/// From here on such a signal ends the process with this status: all is said and written, and what a failed
/// close has left in libhdf5 breaks when MPI or the C library ends. With status 0 it says so in one line, as
/// mpirun then complains of a rank that left before MPI_Finalize. Local.
void note_end(int status);

}  // namespace tangram
