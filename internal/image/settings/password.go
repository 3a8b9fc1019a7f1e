package settings

import (
	"crypto/sha512"

	"github.com/go-crypt/x/crypt"
)

// Hash returns the crypt(5) hash of the password: PasswordHash, or Password hashed with
// SHA-512; "" for none, and for a user whom only keys let in.
//
// The salt follows from user and password, so that the same settings give the same
// image. The salt is a hash of the same cost itself, so that guessing a password by the
// salt takes as long as by the hash.
func (s Settings) Hash() string {
	if s.Password == "" {
		return s.PasswordHash
	}
	salt := sha512Crypt(s.Password, "clusterctrl"+s.User)[:saltSize]
	return "$6$" + salt + "$" + sha512Crypt(s.Password, salt)
}

const (
	saltSize = 16   // bytes, the most that the method takes
	rounds   = 5000 // the method's default, which the hash need not name
)

func sha512Crypt(password, salt string) string {
	salt = salt[:min(len(salt), saltSize)]
	return string(crypt.KeySHACrypt(sha512.New, []byte(password), []byte(salt), rounds))
}
