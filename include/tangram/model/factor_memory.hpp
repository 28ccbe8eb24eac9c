#pragma once
#include <string>

#include "tangram/index.hpp"

namespace tangram {

/// Rows in a device's memory, `stride` entries apart.
template <class Real>
struct RowsThere {
    Real* first = nullptr;  ///< nullptr: there are none
    Index width = 0, stride = 0;
};

/// A device's memory, where passes may leave the rows of factors for products on the same device. Each array
/// of rows has its place on this machine, too, whose address is its name; nothing is there until it is
/// brought home. Local, on one thread; throws Error(numerical) where the device fails.
class FactorMemory {
  public:
    virtual ~FactorMemory() = default;
    /// What device it is of: as NetworkPasses::device().
    virtual std::string device() const = 0;
    /// Room for rows that will stand nowhere else; none where it has none. What is there is not set.
    /// @param home  as large as they are; known until they are forgotten
    /// @throws Error(no_memory) where others have taken the memory
    virtual RowsThere<float> room_for(float* home, Index rows, Index width) = 0;
    virtual RowsThere<double> room_for(double* home, Index rows, Index width) = 0;
    /// What passes have left of these rows is behind it at home. They have ended. Nothing is done where rows
    /// are home or are none of its own.
    virtual void bring_home(const void* home) = 0;
    /// Gives the room for these rows back; what is there is lost.
    virtual void forget(const void* home) noexcept = 0;
};

}  // namespace tangram
