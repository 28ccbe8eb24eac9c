#pragma once
#include <string>

#include "tangram/io/hdf5_handle.hpp"

namespace tangram {

/// Unpacks every chunk of a chunked data set and drops it: libhdf5 reads a whole chunk from what a filter
/// left, however little that is, so that entries would come from foreign memory [seen with 1.10.8]. Local.
/// @throws Error with the place's status where a chunk unpacks to another size than the chunk's, or is packed
///         by a filter other than gzip, shuffle and Fletcher's checksum
void check_chunks(hid_t set, const Hdf5Place& place, const std::string& path);

}  // namespace tangram
