#pragma once
#include <span>
#include <unordered_map>
#include <vector>

#include "runtime.hpp"

namespace tangram::device {

/// Sums of products on a device: those that it has been given stay there until they are stored. All copies
/// are in Stream::copies; throws as the runtime.
class DeviceSums {
  public:
    /// Where sums belong on the host: rows x columns in float64, columns `lld` apart.
    struct Home {
        double* first;
        Index lld, rows, columns;
    };

    explicit DeviceSums(Runtime& runtime) : runtime_(&runtime) {}

    bool empty() const { return held_.empty(); }
    /// Bytes of the device's memory that are taken.
    std::size_t bytes() const;
    /// Bytes that some take beside what is held.
    std::size_t missing(std::span<const Home> homes) const;
    /// Begins to copy those that are not held, in order; those that are zero are made there.
    /// @param room    bytes that they may take beside what is taken
    /// @param staged  of the host; read until Stream::copies is waited for
    /// @return how many are held: all before the first that finds no room
    std::size_t hold(std::span<const Home> homes, std::size_t room, Buffer& staged);
    /// Column-major and rows apart. @throws std::out_of_range where they are not held
    double* at(double* home) const { return reinterpret_cast<double*>(held_.at(home).at); }
    /// All to where they belong; nothing that adds to them is under way. None is held then.
    /// @param staged  the one that hold() had
    void store(Buffer& staged);
    /// Gives everything back.
    void forget() noexcept {
        held_.clear();
        parts_.clear();
    }

  private:
    struct Held {
        Home home;
        std::byte* at;
        std::size_t column_bytes() const { return sizeof(double) * static_cast<std::size_t>(home.rows); }
        std::size_t bytes() const { return static_cast<std::size_t>(home.columns) * column_bytes(); }
    };
    static std::size_t bytes_of(const Home& home) { return Held{home, nullptr}.bytes(); }
    std::byte* next(std::size_t bytes, std::size_t to_come, std::size_t room);
    /// Sums between here and there.
    struct OnItsWay {
        Held sums;
        std::byte* staged;
        bool zero;
    };
    /// visit(column at home, where it is staged, its bytes).
    template <class Visit>
    static void for_columns(const OnItsWay& of, Visit visit);

    Runtime* runtime_;
    std::vector<Buffer> parts_;  // of memory that sums stand in; they are given back together
    std::size_t used_ = 0;       // bytes of the last one
    std::unordered_map<double*, Held> held_;
};

}  // namespace tangram::device
