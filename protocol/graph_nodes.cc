#include "protocol/graph_nodes.h"

#include <cstring>
#include <type_traits>

namespace farwarp::wire {
namespace {

template <typename Archive>
bool one(Archive& archive, GraphNode& node);

// Both directions walk the same fields, so that they cannot differ.
class Writer {
 public:
  static constexpr bool kReads = false;
  explicit Writer(std::vector<std::byte>& out) : out_(out) {}

  template <typename T>
  bool plain(T& value) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    out_.insert(out_.end(), bytes, bytes + sizeof value);
    return true;
  }
  template <typename T>
  bool count(std::vector<T>& list, size_t, size_t) {
    auto number = static_cast<uint32_t>(list.size());
    return plain(number);
  }
  bool nodes(std::vector<GraphNode>& list) {
    auto number = static_cast<uint32_t>(list.size());
    plain(number);
    for (GraphNode& node : list) one(*this, node);
    return true;
  }

 private:
  std::vector<std::byte>& out_;
};

class Reader {
 public:
  static constexpr bool kReads = true;
  explicit Reader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <typename T>
  bool plain(T& value) {
    if (rest_.size() < sizeof value) return false;
    std::memcpy(&value, rest_.data(), sizeof value);
    rest_ = rest_.subspan(sizeof value);
    return true;
  }
  // Makes room for a list of at most `most` elements, each of at least `element_bytes` here.
  template <typename T>
  bool count(std::vector<T>& list, size_t most, size_t element_bytes) {
    uint32_t number = 0;
    if (!plain(number) || number > most || number > rest_.size() / element_bytes) return false;
    list.resize(number);
    return true;
  }
  // A node takes far more room than its bytes, so it gets it only when its bytes are there.
  bool nodes(std::vector<GraphNode>& list) {
    uint32_t number = 0;
    if (++depth_ > kGraphDepthMax || !plain(number) || number > kGraphNodesMax - total_) {
      return false;
    }
    total_ += number;
    for (uint32_t i = 0; i < number; ++i) {
      if (!one(*this, list.emplace_back())) return false;
    }
    --depth_;
    return true;
  }
  bool empty() const { return rest_.empty(); }

 private:
  std::span<const std::byte> rest_;
  uint32_t depth_ = 0;
  size_t total_ = 0;
};

template <typename Archive>
bool flag(Archive& archive, bool& value) {
  auto byte = static_cast<uint8_t>(value);
  if (!archive.plain(byte) || byte > 1) return false;
  value = byte != 0;
  return true;
}

template <typename Archive, typename... Fields>
bool all(Archive& archive, Fields&... fields) {
  return (archive.plain(fields) && ...);
}

template <typename Archive>
bool edges(Archive& archive, std::vector<NodeEdge>& list) {
  if (!archive.count(list, kGraphNodesMax, 7)) return false;
  for (NodeEdge& edge : list) {
    if (!all(archive, edge.from, edge.from_port, edge.to_port, edge.type)) return false;
  }
  return true;
}

template <typename Archive>
bool copyEnd(Archive& archive, NodeCopyEnd& end) {
  return all(archive, end.place, end.address, end.pitch, end.slice_rows, end.array_id, end.x_bytes,
             end.y, end.z) &&
         end.place <= NodeCopyEnd::image;
}

// Launch attributes are checked by who uses them; an id that the enumeration cannot hold is not let
// in.
template <typename Archive>
bool kernel(Archive& archive, GraphNode& node) {
  if (!all(archive, node.context, node.function, node.grid, node.block, node.shared_bytes) ||
      !archive.count(node.attributes, kNodeAttributesMax, sizeof(CUlaunchAttribute))) {
    return false;
  }
  for (CUlaunchAttribute& attribute : node.attributes) {
    if (!archive.plain(attribute)) return false;
    uint32_t id = 0;
    std::memcpy(&id, &attribute.id, sizeof id);
    if (id > 15) return false;
  }
  if (!archive.count(node.params, 64u << 10, 1)) return false;
  for (std::byte& byte : node.params) {
    if (!archive.plain(byte)) return false;
  }
  return true;
}

template <typename Archive>
bool batch(Archive& archive, GraphNode& node) {
  if (!all(archive, node.context, node.flags) ||
      !archive.count(node.operations, kNodeOperationsMax, 24)) {
    return false;
  }
  for (NodeOperation& operation : node.operations) {
    if (!all(archive, operation.operation, operation.flags, operation.address, operation.value)) {
      return false;
    }
  }
  return true;
}

template <typename Archive>
bool conditional(Archive& archive, GraphNode& node) {
  if (!all(archive, node.context, node.condition, node.condition_default, node.condition_flags,
           node.condition_type) ||
      node.condition_type > CU_GRAPH_COND_TYPE_SWITCH || !archive.nodes(node.nodes) ||
      node.nodes.empty() || node.nodes.size() > kConditionalBodiesMax) {
    return false;
  }
  for (const GraphNode& body : node.nodes) {
    if (body.kind != NodeKind::child) return false;
  }
  return true;
}

template <typename Archive>
bool one(Archive& archive, GraphNode& node) {
  if (!all(archive, node.index, node.kind) || !flag(archive, node.enabled) ||
      !edges(archive, node.edges)) {
    return false;
  }
  switch (node.kind) {
    case NodeKind::empty:
      return true;
    case NodeKind::kernel:
      return kernel(archive, node);
    case NodeKind::copy:
      return all(archive, node.context) && copyEnd(archive, node.to) &&
             copyEnd(archive, node.from) && all(archive, node.width, node.height, node.depth) &&
             flag(archive, node.downloads);
    case NodeKind::fill:
      return all(archive, node.context, node.address, node.pitch, node.value, node.element_bytes,
                 node.columns, node.rows);
    case NodeKind::eventRecord:
    case NodeKind::eventWait:
      return all(archive, node.event);
    case NodeKind::child:
      return archive.nodes(node.nodes);
    case NodeKind::batch:
      return batch(archive, node);
    case NodeKind::conditional:
      return conditional(archive, node);
  }
  return false;
}

}  // namespace

std::vector<std::byte> encodeGraphNodes(const std::vector<GraphNode>& nodes) {
  std::vector<std::byte> out;
  Writer writer(out);
  writer.nodes(const_cast<std::vector<GraphNode>&>(nodes));  // which a writer only reads
  return out;
}

bool decodeGraphNodes(std::span<const std::byte> bytes, std::vector<GraphNode>& nodes) {
  if (bytes.size() > kGraphBytesMax) return false;
  Reader reader(bytes);
  return reader.nodes(nodes) && reader.empty();
}

}  // namespace farwarp::wire
