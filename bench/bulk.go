package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"time"
)

// blockSize is the payload of a bulk call, in bytes.
const blockSize = 1 << 20

// bulk is one caller that echoes large blocks. A block counts once, though it travels twice.
func bulk() experiment {
	return experiment{
		figures: []figure{{
			name: "bulk", title: "1 MiB of bytes echoed, one call at a time, local:1; a block counts once", unit: "MB/s",
			targets: []target{{over: nameRaw, bound: 0.6}},
		}},
		contenders: []contender{
			{nameAfar, afarBulk},
			{nameRaw, rawBulk},
			{nameNetRPC, netRPCBulk},
			{nameGRPCUnary, grpcBulk},
			{nameYamuxLong, yamuxBulk},
		},
	}
}

// rawBulk echoes blocks that the far side reads whole before it sends them back.
func rawBulk(ctx context.Context, s *session) (*trial, error) {
	return trialOver(ctx, "raw-block", func(l *link) (*trial, error) {
		reply := make([]byte, blockSize)
		return &trial{measure: blockRate(s, func(_ context.Context, block []byte) error {
			if _, err := l.Write(block); err != nil {
				return err
			}
			if _, err := io.ReadFull(l, reply); err != nil {
				return err
			}
			if !bytes.Equal(reply, block) {
				return errWrongReply
			}
			return nil
		})}, nil
	})
}

// blockRate measures how many megabytes a second echo carries. echo must not keep the block.
func blockRate(
	s *session, echo func(ctx context.Context, block []byte) error,
) func(ctx context.Context) ([]float64, error) {
	block := make([]byte, blockSize)
	for i := range block {
		block[i] = byte(i * 7 >> 3)
	}
	number := uint64(0)
	return func(ctx context.Context) ([]float64, error) {
		begin := time.Now()
		blocks := 0
		for ; blocks == 0 || time.Since(begin) < s.span; blocks++ {
			// Every block differs, so that an old one cannot pass for the reply.
			number++
			binary.LittleEndian.PutUint64(block, number)
			if err := echo(ctx, block); err != nil {
				return nil, err
			}
		}
		return []float64{float64(blocks*blockSize) / 1e6 / time.Since(begin).Seconds()}, nil
	}
}
