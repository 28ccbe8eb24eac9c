#pragma once
#include "tangram/io/hdf5_handle.hpp"

namespace tangram {

/// From here on a signal that libhdf5 raises (1.10 follows what a damaged file says into memory that is not
/// there) ends the process with the status of the file that was noted last and one line that names it. Local;
/// for the program, after MPI_Init, which sets handlers of its own.
void name_damaged_files();

/// Notes the file that libhdf5 works on from here on. Local.
void note_hdf5_file(const Hdf5Place& place);

}  // namespace tangram
