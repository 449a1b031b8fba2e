# A shop that does not work, for five reasons that no `terraform plan` mentions. `roundtrip can` finds each of them.
# Everything is written the old way: routes, rules and entries as blocks in their tables, groups and lists.

terraform {
  required_providers { aws = { source = "hashicorp/aws" } }
}

provider "aws" {
  region                      = "eu-west-1"
  access_key                  = "plan-only"
  secret_key                  = "plan-only"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

resource "aws_vpc" "shop" {
  cidr_block = "10.30.0.0/16"
}

resource "aws_internet_gateway" "shop" {
  vpc_id = aws_vpc.shop.id
}

locals {
  subnets = {
    front-a = { cidr = "10.30.1.0/24", zone = "eu-west-1a", public = true }
    front-b = { cidr = "10.30.2.0/24", zone = "eu-west-1b", public = true }
    back-a  = { cidr = "10.30.11.0/24", zone = "eu-west-1a", public = false }
    back-b  = { cidr = "10.30.12.0/24", zone = "eu-west-1b", public = false }
    data    = { cidr = "10.30.21.0/24", zone = "eu-west-1a", public = false }
  }
}

resource "aws_subnet" "all" {
  for_each                = local.subnets
  vpc_id                  = aws_vpc.shop.id
  cidr_block              = each.value.cidr
  availability_zone       = each.value.zone
  map_public_ip_on_launch = each.value.public
}

resource "aws_eip" "nat" {
  domain = "vpc"
}

resource "aws_nat_gateway" "shop" {
  allocation_id = aws_eip.nat.id
  subnet_id     = aws_subnet.all["front-a"].id
}

resource "aws_route_table" "front" {
  vpc_id = aws_vpc.shop.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.shop.id
  }
}

resource "aws_route_table" "back" {
  vpc_id = aws_vpc.shop.id
  route {
    cidr_block     = "0.0.0.0/0"
    nat_gateway_id = aws_nat_gateway.shop.id
  }
}

# Reason 1: front-b was forgotten here, so it has the main route table, which leads nowhere outside.
resource "aws_route_table_association" "front" {
  for_each       = toset(["front-a"])
  subnet_id      = aws_subnet.all[each.key].id
  route_table_id = aws_route_table.front.id
}

# Reason 2: so was back-b.
resource "aws_route_table_association" "back" {
  for_each       = toset(["back-a"])
  subnet_id      = aws_subnet.all[each.key].id
  route_table_id = aws_route_table.back.id
}

# Reason 3: answers to the clients of back-a come in to ports above 1023, and nothing lets them in.
resource "aws_network_acl" "back" {
  vpc_id     = aws_vpc.shop.id
  subnet_ids = [aws_subnet.all["back-a"].id, aws_subnet.all["back-b"].id]

  ingress {
    rule_no    = 100
    action     = "allow"
    protocol   = "tcp"
    from_port  = 8080
    to_port    = 8080
    cidr_block = "10.30.0.0/16"
  }

  egress {
    rule_no    = 100
    action     = "allow"
    protocol   = "-1"
    from_port  = 0
    to_port    = 0
    cidr_block = "0.0.0.0/0"
  }
}

resource "aws_security_group" "front" {
  name   = "front"
  vpc_id = aws_vpc.shop.id

  ingress {
    description = "Customers"
    from_port   = 443
    to_port     = 443
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }

  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

# Reason 4: no egress block. Terraform takes away the rule that AWS makes, so nothing goes out.
resource "aws_security_group" "back" {
  name   = "back"
  vpc_id = aws_vpc.shop.id

  ingress {
    from_port       = 8080
    to_port         = 8080
    protocol        = "tcp"
    security_groups = [aws_security_group.front.id]
  }
}

# Reason 5: the database lets the front in where the back end should be.
resource "aws_security_group" "data" {
  name   = "data"
  vpc_id = aws_vpc.shop.id

  ingress {
    from_port       = 5432
    to_port         = 5432
    protocol        = "tcp"
    security_groups = [aws_security_group.front.id]
  }

  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_instance" "front" {
  for_each               = toset(["front-a", "front-b"])
  ami                    = "ami-0123456789abcdef0"
  instance_type          = "t3.small"
  subnet_id              = aws_subnet.all[each.key].id
  vpc_security_group_ids = [aws_security_group.front.id]
}

resource "aws_instance" "back" {
  for_each               = toset(["back-a", "back-b"])
  ami                    = "ami-0123456789abcdef0"
  instance_type          = "t3.small"
  subnet_id              = aws_subnet.all[each.key].id
  vpc_security_group_ids = [aws_security_group.back.id]
}

resource "aws_network_interface" "data" {
  subnet_id       = aws_subnet.all["data"].id
  private_ips     = ["10.30.21.54"]
  security_groups = [aws_security_group.data.id]
}

resource "aws_instance" "data" {
  ami           = "ami-0123456789abcdef0"
  instance_type = "t3.small"
  network_interface {
    device_index         = 0
    network_interface_id = aws_network_interface.data.id
  }
}
