package io.tensorhold.server.base;

/**
 * Why a request was refused, as {@code google.rpc.ErrorInfo.reason} says it on the wire. Names are
 * part of the public protocol: do not change them.
 */
public enum Reason {
  /** No model of that name or id, or it is still being loaded. */
  MODEL_UNKNOWN,
  /** A model of that name exists already. */
  MODEL_EXISTS,
  /** The model has no such parameter. */
  PARAMETER_UNKNOWN,
  /** A block index, or an element in a block, past the end of the tensor. */
  BLOCK_OUT_OF_RANGE,
  /** A name that is empty, too long, or has control characters. */
  NAME_INVALID,
  /** A dtype or shape that no tensor can have. */
  SHAPE_INVALID,
  /** An alias of nothing, of itself, of another dtype, or beyond the tensor it names. */
  ALIAS_INVALID,
  /** An encoding that the parameter cannot be stored or sent in. */
  CODEC_INVALID,
  /** An unknown optimizer, a hyper-parameter out of range, or an operation it does not allow. */
  OPTIMIZER_INVALID,
  /** Keys of rows that do not rise, come twice, or lie on another shard. */
  KEYS_INVALID,
  /** A payload whose length is not what its header says. */
  PAYLOAD_LENGTH,
  /** NaN or infinity where the model refuses them. */
  NONFINITE,
  /** The session was closed or forgotten; what it sent before is applied once or not at all. */
  SESSION_EXPIRED,
  /** No session has that number, or it has not joined the model whose steps it pushes. */
  SESSION_UNKNOWN,
  /** A rank past the model's number of workers, or not the session's own. */
  RANK_INVALID,
  /** Another session holds the rank, or all ranks are held. */
  RANK_TAKEN,
  /** The step was made without this push, or is long past. */
  STEP_CLOSED,
  /** The session has pushed that part of that step already, with other bytes. */
  STEP_CONFLICT,
  /** The shard's leader has not the push that a worker brings factors for: send it whole. */
  STEP_UNKNOWN,
  /** A rank did not come in time, and the model's policy is FAIL. */
  STEP_FAILED,
  /** The worker is further ahead of the slowest than allowed, and did not wait. */
  STALE,
  /** Pushes since the last checkpoint were lost with the shard's former leader. */
  OVERLAY_LOST,
  /** Another server leads; metadata {@code leader} names its address when it is known. */
  NOT_LEADER,
  /** A follower can't be sure that its replica is as fresh as the pull asks; ask the leader. */
  REPLICA_STALE,
  /** A server of one cluster met another cluster. */
  CLUSTER_MISMATCH,
  /** The disk has no space left for writes; reads go on. */
  DISK_FULL,
  /** A named limit would be passed. */
  LIMIT,
  /** Bytes do not match their checksum. */
  CHECKSUM,
  /** A request that makes no sense for another reason. */
  REQUEST_INVALID,
  /** The server is starting, stopping, or has lost its majority; try again. */
  UNAVAILABLE
}
