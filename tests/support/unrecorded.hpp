#pragma once
#include "tangram/files/files_read.hpp"

namespace tangram::testing {

/// A record for one call that nobody asks: read_json(file, Unrecorded()).
class Unrecorded {
  public:
    operator FilesRead&() { return files_; }

  private:
    FilesRead files_;
};

}  // namespace tangram::testing
