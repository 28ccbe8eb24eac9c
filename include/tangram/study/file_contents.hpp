#pragma once
#include <string>
#include <vector>

#include "tangram/io/hdf5_file.hpp"
#include "tangram/session/log.hpp"

namespace tangram {

/// One kind of group or data set of an output file.
struct FileContent {
    std::string path;  ///< * stands for a name
    std::string description;
    std::string units;              ///< "1": dimensionless
    std::vector<std::string> axes;  ///< of a data set
};

/// Everything that an output file may hold, in the order in which a path is looked up.
const std::vector<FileContent>& file_contents();

/// The last thing that a stage writes into a file: description, units and axes of all that it holds, with the
/// data sets that are their dimension scales, and what was warned of in this stage, in /warnings, in place of
/// an earlier run's. Local.
/// @param anew  stages whose results, and so their warnings, are gone from the file
void complete_file(Hdf5File& file, const Log& log, const std::string& stage,
                   const std::vector<std::string>& anew = {});

}  // namespace tangram
