#pragma once
#include <mpi.h>

#include <exception>
#include <string>

#include "tangram/files/files_read.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {

// Ranks may see different files at one path: another node's copy. All of these are collective and throw on
// every rank or none.

/// As agree_on_failure(); where some ranks could read and others not, the message says which one could not.
void agree_on_reading(MPI_Comm comm, std::exception_ptr failure);

/// As collectively(), for work in which every rank reads its own files.
template <class Read>
auto read_on_all(MPI_Comm comm, Read&& read) {
    return collectively(comm, read, agree_on_reading);
}

/// Refuses records that are not the same on every rank: names and bytes (sizes, where nothing is hashed yet).
/// @throws Error(input, contradiction) naming the first file, the ranks and their hosts
void agree_on_files(const FilesRead& files, MPI_Comm comm);

/// What the first rank alone has read is known to all from here on.
void know_files_of_first_rank(FilesRead& files, MPI_Comm comm);

/// Hashes the mapped files. Of the ranks of a host that see the same file (device, inode, time) one reads it
/// and answers for it; of several files they take turns. @return of the first rank's one file its hash, of
/// several that of their hashes; empty where there is none @throws Error(input) as FilesRead::hash
std::string hash_mapped_files(FilesRead& files, MPI_Comm comm);

/// Refuses files that are not what they were when they were read, on any host.
/// @throws Error(input, changed) naming file, host and rank
void refuse_changed_files(const FilesRead& files, MPI_Comm comm);

}  // namespace tangram
