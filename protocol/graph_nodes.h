// The nodes of an executable graph on their way to gpud.
//
// Little endian and packed; every count is checked against the bytes that are there before anything
// is allocated for it.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace farwarp::wire {

inline constexpr size_t kGraphNodesMax = 1u << 18;  // of one message, child graphs included
inline constexpr uint32_t kGraphDepthMax = 16;      // child graphs within child graphs
inline constexpr uint32_t kNodeAttributesMax = 32;
inline constexpr uint32_t kNodeOperationsMax = 256;
inline constexpr size_t kConditionalBodiesMax = 1024;
inline constexpr uint64_t kGraphBytesMax = 256u << 20;  // encoded

enum class NodeKind : uint8_t {
  empty = 0,
  kernel = 1,
  copy = 2,
  fill = 3,
  eventRecord = 4,
  eventWait = 5,
  child = 6,
  batch = 7,
  conditional = 8,
};

struct NodeEdge {
  uint32_t from = 0;  // position of a node of the same graph, before this one or not
  uint8_t from_port = 0;
  uint8_t to_port = 0;
  uint8_t type = 0;
};

// One end of a copy.
struct NodeCopyEnd {
  enum Place : uint8_t {
    device = 0,
    array = 1,
    image = 2,  // `address` counts from the start of the room for the client's memory
  };
  uint8_t place = device;
  uint64_t address = 0;
  uint64_t pitch = 0;
  uint64_t slice_rows = 0;
  uint64_t array_id = 0;
  uint64_t x_bytes = 0;
  uint64_t y = 0;
  uint64_t z = 0;
};

struct NodeOperation {
  uint32_t operation = 0;
  uint32_t flags = 0;
  uint64_t address = 0;
  uint64_t value = 0;
};

// Fields of other kinds than the node's stay as they are and do not travel.
struct GraphNode {
  uint32_t index = 0;  // position in its graph
  NodeKind kind = NodeKind::empty;
  bool enabled = true;
  std::vector<NodeEdge> edges;
  uint64_t context = 0;  // id, or 0 for the call's

  // kernel
  uint64_t function = 0;
  uint32_t grid[3] = {};
  uint32_t block[3] = {};
  uint32_t shared_bytes = 0;
  std::vector<CUlaunchAttribute> attributes;
  std::vector<std::byte> params;

  // copy
  NodeCopyEnd to;
  NodeCopyEnd from;
  uint64_t width = 0;  // of the box, in bytes
  uint64_t height = 0;
  uint64_t depth = 0;
  bool downloads = false;  // `to` is memory of the client, which gets it after each launch

  // fill
  uint64_t address = 0;
  uint64_t pitch = 0;
  uint32_t value = 0;
  uint32_t element_bytes = 0;
  uint64_t columns = 0;
  uint64_t rows = 0;

  uint64_t event = 0;
  std::vector<NodeOperation> operations;
  uint32_t flags = 0;

  // conditional: `condition` is the client's handle, which kernels' parameters hold. The kinds of
  // conditional nodes are CUDA's.
  uint64_t condition = 0;
  uint32_t condition_default = 0;
  uint32_t condition_flags = 0;
  uint8_t condition_type = 0;

  std::vector<GraphNode> nodes;  // of a child graph; of a conditional node: a child node per body
};

[[nodiscard]] std::vector<std::byte> encodeGraphNodes(const std::vector<GraphNode>& nodes);
// False when the bytes are no encoding of nodes, or break a limit above.
[[nodiscard]] bool decodeGraphNodes(std::span<const std::byte> bytes,
                                    std::vector<GraphNode>& nodes);

}  // namespace farwarp::wire
